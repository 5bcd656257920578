//! Exports: ordered, made by a worker, picked up after a crash, handed out with a record of it.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use contracts_common::common::v1::{ActorType, TerminationReason};
use contracts_logs::v1::{
    self as pb, Completeness, ExportFormat as Format, ExportScope as Scope, ExportState as State,
    export_service_client::ExportServiceClient, ledger_service_client::LedgerServiceClient,
};
use runspine_db::args;
use runspine_logs_domain::keys::{Signed, parse_verifier_key, verify};
use runspine_rpc::{Transport, details};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, test_id, until_ok};
use runspine_types::hash;

use crate::traces::harness::{Answer, House, reason, sealing, start};

pub(super) fn client(house: &House) -> ExportServiceClient<Transport> {
    ExportServiceClient::new(house.way.clone())
}

pub(super) fn wanted(id: u64, scope: Scope, format: Format) -> pb::CreateExportRequest {
    pb::CreateExportRequest {
        request_id: test_id(40, id),
        scope: scope.into(),
        format: format.into(),
        reason: "asked for by the auditor".into(),
        ..Default::default()
    }
}

pub(super) async fn create(house: &House, request: pb::CreateExportRequest) -> Answer<pb::Export> {
    let request = house.ask("ExportService/CreateExport", request);
    client(house).create_export(request).await.map(|r| r.into_inner().export.unwrap())
}

pub(super) async fn get(house: &House, id: &str) -> pb::GetExportResponse {
    let asked = pb::GetExportRequest { export_id: id.to_owned() };
    client(house).get_export(house.ask("ExportService/GetExport", asked)).await.unwrap().into_inner()
}

/// Waits until an export is made, or given up.
pub async fn made(house: &House, id: &str) -> pb::Export {
    until_ok(Duration::from_secs(60), || async {
        let export = get(house, id).await.export.unwrap();
        let over = matches!(export.state(), State::Completed | State::Failed);
        if over { Ok(export) } else { Err(export.state()) }
    })
    .await
}

pub(super) async fn download(house: &House, id: u64, export_id: &str) -> Answer<Vec<u8>> {
    let asked = pb::DownloadExportRequest { request_id: test_id(41, id), export_id: export_id.to_owned() };
    let request = house.ask("ExportService/DownloadExport", asked);
    let mut pieces = client(house).download_export(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await? {
        assert!(piece.chunk.len() <= 64 * 1024);
        content.extend_from_slice(&piece.chunk);
    }
    Ok(content)
}

/// Puts an event of another domain on the ledger, as the relay does.
pub(super) async fn told(house: &House, id: u64, event_type: &str, number: u64, reason: &str) {
    let entry = pb::LedgerEvent {
        event_id: test_id(42, id),
        event_type: event_type.into(),
        scope: pb::LedgerScope::Run.into(),
        run_id: run(number),
        attempt: 1,
        step_index: Some(0),
        entity_type: "incident".into(),
        entity_id: test_id(43, number),
        actor: Some(contracts_common::common::v1::Actor {
            r#type: ActorType::System.into(),
            id: "incidents".into(),
        }),
        reason: reason.into(),
        occurred_at: Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 0 }),
        ..Default::default()
    };
    let request = house.ask("LedgerService/AppendEntries", pb::AppendEntriesRequest { entries: vec![entry] });
    LedgerServiceClient::new(house.way.clone()).append_entries(request).await.unwrap();
}

/// A run that ended for `why`, under a policy snapshot.
pub(super) async fn ended(house: &House, number: u64, why: TerminationReason) {
    house.declare(number, 1).await;
    let begun = pb::StartTraceRequest { policy_snapshot_id: "ps-7".into(), ..start(number, 1) };
    house.start(begun).await.unwrap();
    house.advance(1_000);
    house.settle(number, 1).await;
    let request = pb::SealTraceRequest { termination_reason: why.into(), ..sealing(number, 1) };
    house.seal(request).await.unwrap();
}

on_both_engines! {
    async fn the_ledger_of_a_run_is_exported_and_handed_out(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        house.sealed_run(2).await;
        told(&house, 1, "incidents.IncidentOpened", 1, "=HYPERLINK(\"x\")").await;
        let order = pb::CreateExportRequest { run_id: run(1), ..wanted(1, Scope::Audit, Format::Csv) };
        let ordered = create(&house, order.clone()).await.unwrap();
        assert_eq!(create(&house, order).await.unwrap(), ordered, "a repeat gets the first answer");
        let export = made(&house, &ordered.export_id).await;
        assert_eq!(export.state(), State::Completed);
        let content = download(&house, 1, &export.export_id).await.unwrap();
        assert_eq!((content.len() as u64, hash(&content).as_bytes()), (export.size, export.content_digest.as_ref()));
        let text = String::from_utf8(content.clone()).unwrap();
        assert!(text.starts_with("seq,event_type,") && text.contains("logs.TraceSealed"));
        assert!(text.contains("\"'=HYPERLINK(\"\"x\"\")\"") && !text.contains(&run(2)), "{text}");
        let mut keys = house.keys.clone();
        let keys = keys.list_keys(house.ask("KeyService/ListKeys", pb::ListKeysRequest::default())).await.unwrap().into_inner().keys;
        let key = keys.iter().find(|key| key.key_id == export.key_id).unwrap();
        let key = parse_verifier_key(&key.verifier_key).unwrap();
        assert!(verify(&key.public_key, Signed::Export, &content, &export.signature));
        download(&house, 1, &export.export_id).await.unwrap();
        download(&house, 2, &export.export_id).await.unwrap();
        let events = get(&house, &export.export_id).await.events;
        let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
        assert_eq!(kinds, ["PENDING", "RUNNING", "COMPLETED", "DELIVERED", "DELIVERED"], "the same request delivers once");
        assert_eq!(events[3].detail, "agent-7");
        let names: Vec<_> = house.published().await.into_iter().map(|event| event.r#type).collect();
        assert_eq!(names.iter().filter(|name| *name == "logs.ExportCompleted").count(), 1);
        assert_eq!(names.iter().filter(|name| *name == "logs.ExportDelivered").count(), 2);
        house.advance(24 * 60 * 60 * 1_000);
        assert_eq!(reason(download(&house, 3, &export.export_id).await), "EXPORT_EXPIRED");
        assert_eq!(reason(download(&house, 4, &test_id(44, 1)).await), "EXPORT_NOT_FOUND");
        let db = house.db().await;
        assert_append_only(&db, "exports").await;
        assert_append_only(&db, "export_events").await;
    }

    async fn a_report_is_proved_while_it_is_written(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::BudgetExceeded).await;
        let order = |id| pb::CreateExportRequest { run_id: run(1), ..wanted(id, Scope::Compliance, Format::Json) };
        let refused = create(&house, order(1)).await.unwrap_err();
        let why = details(&refused);
        assert_eq!(why.reason, "EXPORT_INCOMPLETE");
        assert_eq!(why.preconditions, [("incident_id".to_owned(), "is present".to_owned())]);
        told(&house, 1, "incidents.IncidentOpened", 1, "BUDGET").await;
        let export = create(&house, order(1)).await.unwrap();
        let export = made(&house, &export.export_id).await;
        assert_eq!((export.state(), export.missing_recommended.len()), (State::Completed, 0));
        let content = download(&house, 1, &export.export_id).await.unwrap();
        let report: serde_json::Value = serde_json::from_slice(&content).unwrap();
        assert_eq!(report["incident_category"], "BUDGET_EXCEEDED");
        let controls: HashMap<&str, &str> = report["control_mappings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|mapped| (mapped["control"].as_str().unwrap(), mapped["status"].as_str().unwrap()))
            .collect();
        assert_eq!(controls.len(), 5);
        assert!(controls.values().all(|status| *status == "DEMONSTRATED"), "{controls:?}");
        assert!(report["attestation_statement"].as_str().unwrap().contains("signed by key"));
        let silent = pb::CreateExportRequest { reason: String::new(), ..order(2) };
        let export = create(&house, silent).await.unwrap();
        assert_eq!(made(&house, &export.export_id).await.missing_recommended, ["export_reason"]);
    }

    async fn an_unproved_run_demonstrates_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        let order = |id| pb::CreateExportRequest { run_id: run(2), ..wanted(id, Scope::Compliance, Format::Json) };
        let open = pb::CreateExportRequest { run_id: run(1), ..order(1) };
        assert_eq!(reason(create(&house, open).await), "NOT_SEALED");
        assert_eq!(reason(create(&house, order(2)).await), "TRACE_NOT_FOUND");
        ended(&house, 2, TerminationReason::Completed).await;
        let db = house.db().await;
        let off = db.dialect().pick(
            "DROP TRIGGER trace_seals_append_only_update",
            "ALTER TABLE trace_seals DISABLE TRIGGER trace_seals_append_only_update",
        );
        db.write("tamper", move |tx| {
            Box::pin(async move {
                tx.execute(off, args![]).await?;
                Ok(tx.execute("UPDATE trace_seals SET signature = $1", args![vec![0_u8; 64]]).await?)
            })
        })
        .await
        .unwrap();
        let export = create(&house, order(3)).await.unwrap();
        let export = made(&house, &export.export_id).await;
        let content = String::from_utf8(download(&house, 1, &export.export_id).await.unwrap()).unwrap();
        assert!(!content.contains("DEMONSTRATED") && content.contains("nothing is attested"), "{content}");
    }

    async fn what_a_crash_left_is_picked_up_or_given_up(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let db = house.db().await;
        // Two orders as a process left them that died while it made them: one once, one too often.
        for (n, tries) in [(1_u64, 1_i64), (2, 3)] {
            db.write("left", move |tx| {
                Box::pin(async move {
                    let id = test_id(45, n);
                    let sql = "INSERT INTO exports (export_id, tenant_id, scope, format, run_id, attempt, requested_by, \
                               actor_type, correlation, reason, created_at) VALUES ($1, $2, 3, 1, '', 0, 'a', 1, '', 'r', 1)";
                    tx.execute(sql, args![&id, runspine_testkit::tenant(1)]).await?;
                    let sql = "INSERT INTO export_work (export_id, tenant_id, state, tries, claimed_until) VALUES ($1, $2, 2, $3, 5)";
                    tx.execute(sql, args![&id, runspine_testkit::tenant(1), tries]).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        }
        // Whoever has something made makes that, too; so does the worker.
        let order = house.ask_as(2, "ExportService/CreateExport", wanted(1, Scope::Audit, Format::Json));
        client(&house).create_export(order).await.unwrap();
        assert_eq!(made(&house, &test_id(45, 1)).await.state(), State::Completed);
        assert_eq!(made(&house, &test_id(45, 2)).await.state(), State::Failed);
        let events = get(&house, &test_id(45, 2)).await.events;
        assert_eq!(events.last().unwrap().detail, "ABANDONED");
        assert_eq!(reason(download(&house, 1, &test_id(45, 2)).await), "EXPORT_NOT_READY");
        let page = pb::ListExportsRequest { page_size: 1, ..Default::default() };
        let listed = client(&house).list_exports(house.ask("ExportService/ListExports", page.clone())).await.unwrap().into_inner();
        let rest = pb::ListExportsRequest { page_token: listed.next_page_token.clone(), ..page };
        let rest = client(&house).list_exports(house.ask("ExportService/ListExports", rest)).await.unwrap().into_inner();
        assert_eq!((listed.exports.len(), rest.exports.len(), rest.next_page_token.len()), (1, 1, 0));
    }

    /// Section 17: a report that was made with everything in it is certified, and no other export is.
    async fn a_complete_report_is_certified(store: TestStore) {
        let house = House::over(store).await;
        let certify = async |id: u64, export_id: &str| {
            let asked = pb::IssueCertificateRequest {
                request_id: test_id(44, id),
                kind: pb::CertificateKind::IncidentExport.into(),
                export_id: export_id.to_owned(),
                ..Default::default()
            };
            let request = house.ask("CertificateService/IssueCertificate", asked);
            let mut client = pb::certificate_service_client::CertificateServiceClient::new(house.way.clone());
            client.issue_certificate(request).await.map(|r| r.into_inner().certificate.unwrap())
        };
        ended(&house, 1, TerminationReason::BudgetExceeded).await;
        told(&house, 1, "incidents.IncidentOpened", 1, "the budget is used up").await;
        ended(&house, 2, TerminationReason::Completed).await;
        let report = pb::CreateExportRequest { run_id: run(1), ..wanted(1, Scope::Compliance, Format::Json) };
        let whole = made(&house, &create(&house, report).await.unwrap().export_id).await;
        assert!(whole.missing_recommended.is_empty(), "{:?}", whole.missing_recommended);
        let certificate = certify(1, &whole.export_id).await.unwrap();
        assert_eq!((certificate.run_id, certificate.attempt, &certificate.export_id), (run(1), 1, &whole.export_id));
        assert!(certificate.payload_json.contains(&hex::encode(&whole.content_digest)));
        // A report of a run without an incident has no step that violated anything.
        let report = pb::CreateExportRequest { run_id: run(2), ..wanted(2, Scope::Compliance, Format::Json) };
        let partial = made(&house, &create(&house, report).await.unwrap().export_id).await;
        assert_eq!(reason(certify(2, &partial.export_id).await), "EXPORT_INCOMPLETE");
        let ledger = made(&house, &create(&house, wanted(3, Scope::Audit, Format::Csv)).await.unwrap().export_id).await;
        assert_eq!(reason(certify(3, &ledger.export_id).await), "EXPORT_NOT_READY");
        assert_eq!(reason(certify(4, &test_id(45, 1)).await), "EXPORT_NOT_FOUND");
        assert_eq!(reason(certify(5, "").await), "FIELD_INVALID");
    }

    async fn no_more_of_a_tenant_are_in_the_making_than_may_be(store: TestStore) {
        let house = House::over(store).await;
        let db = house.db().await;
        db.write("busy", move |tx| {
            Box::pin(async move {
                for n in [1_u64, 2] {
                    let sql = "INSERT INTO export_work (export_id, tenant_id, state, tries, claimed_until) VALUES ($1, $2, 2, 1, $3)";
                    tx.execute(sql, args![test_id(45, n), runspine_testkit::tenant(1), i64::MAX]).await?;
                }
                Ok(())
            })
        })
        .await
        .unwrap();
        assert_eq!(reason(create(&house, wanted(1, Scope::Audit, Format::Json)).await), "EXPORT_BUSY");
        let mut config = runspine_logs::Config::default();
        config.export.parallel = 3;
        let house = house.again_with(config).await;
        create(&house, wanted(1, Scope::Audit, Format::Json)).await.unwrap();
        let wrong = pb::CreateExportRequest { attempt: 1, ..wanted(2, Scope::Audit, Format::Json) };
        assert_eq!(reason(create(&house, wrong).await), "FIELD_INVALID");
        let wrong = wanted(3, Scope::Compliance, Format::Csv);
        assert_eq!(details(&create(&house, wrong).await.unwrap_err()).fields.len(), 2, "run and format at once");
    }

    async fn completeness_is_told(store: TestStore) {
        let house = House::over(store).await;
        let ask = |request| house.ask("ExportService/CheckCompleteness", request);
        let names = runspine_logs_domain::export::REQUIRED;
        let fields: BTreeMap<String, String> = names.iter().map(|name| ((*name).to_owned(), "0".to_owned())).collect();
        let request = pb::CheckCompletenessRequest { fields: fields.clone(), ..Default::default() };
        let told = client(&house).check_completeness(ask(request)).await.unwrap().into_inner();
        assert_eq!((told.result(), told.completeness_permille), (Completeness::Partial, 750));
        let request = pb::CheckCompletenessRequest { fields, soc2: true, strict: false };
        let told = client(&house).check_completeness(ask(request)).await.unwrap().into_inner();
        assert_eq!((told.result(), told.missing_required.len()), (Completeness::Incomplete, 4));
        let request = pb::CheckCompletenessRequest { fields: BTreeMap::from([("run_id".into(), "{".into())]), ..Default::default() };
        assert_eq!(reason(client(&house).check_completeness(ask(request)).await), "FIELD_INVALID");
    }
}
