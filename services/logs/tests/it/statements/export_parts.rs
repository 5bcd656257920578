//! Exports that wait for other domains: parts come, each once, and the last has the export made.

use contracts_common::common::v1::TerminationReason;
use contracts_logs::v1::{
    self as pb, ExportFormat as Format, ExportPartStatus as Status, ExportScope as Scope,
    ExportState as State, add_export_part_request::Piece,
};
use prost::Message as _;
use runspine_db::args;
use runspine_rpc::details;
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, test_id};
use runspine_types::hash;
use serde_json::Value;

use super::exports::{client, create, download, ended, get, made, wanted};
use crate::traces::harness::{Answer, House, reason};

pub(super) const SOURCES: [&str; 4] = ["activity", "controls", "incidents", "policies"];

pub(super) fn head(export_id: &str, source: &str) -> pb::ExportPartHead {
    pb::ExportPartHead {
        export_id: export_id.to_owned(),
        source: source.to_owned(),
        status: Status::Ok.into(),
        reason: String::new(),
    }
}

pub(super) fn figure(name: &str, value: &str) -> Piece {
    let reference = "runspine.x.v1.XService/Get".to_owned();
    Piece::Figure(pb::ExportFigure { name: name.to_owned(), value: value.to_owned(), reference })
}

pub(super) fn document(json: &str) -> Piece {
    Piece::Document(pb::ExportDocument { r#type: "runspine.x.v1.X".to_owned(), json: json.to_owned() })
}

pub(super) async fn send(house: &House, tenant: u64, pieces: Vec<Piece>) -> Answer<Vec<String>> {
    let messages: Vec<_> =
        pieces.into_iter().map(|piece| pb::AddExportPartRequest { piece: Some(piece) }).collect();
    let request = house.ask_as(tenant, "ExportService/AddExportPart", futures::stream::iter(messages));
    client(house).add_export_part(request).await.map(|answer| answer.into_inner().waits_for)
}

pub(super) async fn add(
    house: &House,
    export_id: &str,
    source: &str,
    pieces: Vec<Piece>,
) -> Answer<Vec<String>> {
    let head = Piece::Head(head(export_id, source));
    send(house, 1, std::iter::once(head).chain(pieces).collect()).await
}

fn wants(id: u64, scope: Scope) -> pb::CreateExportRequest {
    pb::CreateExportRequest { run_id: run(1), ..wanted(id, scope, Format::Unspecified) }
}

/// A run that ended at a limit, and an export of it that waits.
async fn waiting(house: &House, id: u64, scope: Scope) -> String {
    let export = create(house, wants(id, scope)).await.unwrap();
    assert_eq!(export.state(), State::Pending);
    export.export_id
}

async fn content(house: &House, id: u64, export_id: &str) -> Value {
    serde_json::from_slice(&download(house, id, export_id).await.unwrap()).unwrap()
}

on_both_engines! {
    async fn evidence_is_made_when_its_last_part_came(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::BudgetExceeded).await;
        let id = waiting(&house, 1, Scope::Evidence).await;
        let incidents = vec![figure("incident_id", "\"in-1\""), figure("incident_count", "1"), document("{\"a\":1}")];
        assert_eq!(add(&house, &id, "incidents", incidents.clone()).await.unwrap(), ["activity", "controls", "policies"]);
        let again = add(&house, &id, "incidents", incidents).await.unwrap();
        assert_eq!(again, ["activity", "controls", "policies"], "the first answer, word for word");
        let other = vec![figure("incident_id", "\"in-2\"")];
        assert_eq!(reason(add(&house, &id, "incidents", other).await), "IDEMPOTENCY_MISMATCH");
        for source in ["activity", "controls"] {
            add(&house, &id, source, vec![]).await.unwrap();
        }
        assert_eq!(get(&house, &id).await.export.unwrap().state(), State::Pending);
        let step = figure("violation_step_index", "0");
        assert!(add(&house, &id, "policies", vec![step]).await.unwrap().is_empty());
        let export = made(&house, &id).await;
        assert_eq!(export.state(), State::Completed, "{export:?}");
        assert!(export.missing_recommended.is_empty(), "{:?}", export.missing_recommended);
        let parts: Vec<_> = export.parts.iter().map(|p| (p.source.as_str(), p.status(), p.items)).collect();
        let expected = [("incidents", 3), ("activity", 0), ("controls", 0), ("policies", 1)];
        assert_eq!(parts, expected.map(|(source, items)| (source, Status::Ok, items)));
        let bytes = download(&house, 1, &id).await.unwrap();
        assert_eq!(export.content_digest, hash(&bytes).to_vec(), "the hash is over all content bytes");
        let evidence: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&evidence["incident_id"], &evidence["bundle_id"]), (&"in-1".into(), &id.clone().into()));
        assert_eq!(evidence["sources"]["incidents"]["documents"][0]["document"]["a"], 1);
        assert!(evidence.get("attestation_statement").is_none(), "that is a report's");
        assert_eq!(reason(add(&house, &id, "activity", vec![document("1")]).await), "IDEMPOTENCY_MISMATCH");
        let left: Vec<(i64,)> =
            house.db().await.read().fetch_all("SELECT item FROM export_items", args![]).await.unwrap();
        assert!(left.is_empty(), "pieces go when the content is there");
        assert_append_only(&house.db().await, "export_parts").await;
    }

    async fn a_domain_that_could_not_be_asked_fails_evidence_and_is_named_on_the_page(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::PolicyBlock).await;
        let evidence = waiting(&house, 1, Scope::Evidence).await;
        let page = waiting(&house, 2, Scope::Executive).await;
        for id in [&evidence, &page] {
            for source in SOURCES {
                let away = source == "policies";
                let head = pb::ExportPartHead {
                    status: if away { Status::Timeout } else { Status::Ok }.into(),
                    reason: if away { "DEADLINE_EXCEEDED".into() } else { String::new() },
                    ..head(id, source)
                };
                let given = if source == "incidents" { vec![figure("incident_count", "0")] } else { vec![] };
                send(&house, 1, std::iter::once(Piece::Head(head)).chain(given).collect()).await.unwrap();
            }
        }
        let failed = made(&house, &evidence).await;
        assert_eq!((failed.state(), failed.failure_reason.as_str()), (State::Failed, "EXPORT_INCOMPLETE"));
        assert_eq!(failed.missing_required, ["sources.policies"]);
        assert_eq!(reason(add(&house, &evidence, "policies", vec![]).await), "IDEMPOTENCY_MISMATCH");
        assert_eq!(made(&house, &page).await.state(), State::Completed);
        let page = content(&house, 1, &page).await;
        assert_eq!(page["sources"]["policies"]["status"], "TIMEOUT");
        assert_eq!(page["violation"]["termination_reason"]["value"], "POLICY_BLOCK");
        assert!(page["summary"].as_str().unwrap().ends_with("It led to no incident."));
        assert!(page["missing"].as_array().unwrap().contains(&"violation_count".into()));
    }

    async fn a_bundle_has_the_documents_that_policies_gave(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let id = waiting(&house, 1, Scope::Bundle).await;
        let row_json = "{\"decision_id\":\"d1\"}".to_owned();
        let decision = pb::DecisionDocument { decision_id: "d1".into(), row_json, inputs: bytes::Bytes::new() };
        add(&house, &id, "policies", vec![Piece::Decision(decision)]).await.unwrap();
        let export = made(&house, &id).await;
        assert_eq!((export.state(), export.format), (State::Completed, Format::Bundle.into()), "{export:?}");
        let file = String::from_utf8(download(&house, 1, &id).await.unwrap()).unwrap();
        assert!(file.starts_with("{\"s\":\"manifest\"") && file.contains("\"t\":\"d1\""), "{}", &file[..200]);
        house.begin(2).await;
        let open = pb::CreateExportRequest { run_id: run(2), ..wants(2, Scope::Bundle) };
        assert_eq!(reason(create(&house, open).await), "NOT_SEALED");
        let open = pb::CreateExportRequest { run_id: run(2), ..wants(3, Scope::Executive) };
        assert_eq!(reason(create(&house, open).await), "NOT_SEALED");
        let none = pb::CreateExportRequest { run_id: run(3), ..wants(4, Scope::Evidence) };
        assert_eq!(reason(create(&house, none).await), "TRACE_NOT_FOUND");
    }

    /// An order tells what it waits for in its own commit; who never gets it is given up, and says what it lacked.
    async fn nobody_waits_for_ever(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::Completed).await;
        let id = waiting(&house, 1, Scope::Executive).await;
        let told: Vec<(bytes::Bytes,)> = house
            .db()
            .await
            .read()
            .fetch_all("SELECT envelope FROM outbox WHERE kind = 'logs.ExportOrdered'", args![])
            .await
            .unwrap();
        let envelope = contracts_common::common::v1::EventEnvelope::decode(told[0].0.clone()).unwrap();
        let order = pb::ExportOrdered::decode(envelope.data).unwrap();
        assert_eq!((order.export_id.as_str(), order.sources.as_slice()), (id.as_str(), &SOURCES.map(str::to_owned)[..]));
        add(&house, &id, "incidents", vec![]).await.unwrap();
        house.advance(16 * 60 * 1_000_000);
        // Whoever has anything made gives it up; so does the worker.
        let order = house.ask_as(2, "ExportService/CreateExport", wanted(9, Scope::Audit, Format::Json));
        client(&house).create_export(order).await.unwrap();
        let export = made(&house, &id).await;
        assert_eq!((export.state(), export.failure_reason.as_str()), (State::Failed, "EXPORT_INCOMPLETE"));
        assert_eq!(export.missing_required, ["sources.activity", "sources.controls", "sources.policies"]);
        assert_eq!(reason(add(&house, &id, "policies", vec![]).await), "EXPORT_CLOSED");
    }

    async fn what_is_wrong_with_a_part_is_said(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::Completed).await;
        let id = waiting(&house, 1, Scope::Evidence).await;
        let fields = async |pieces: Vec<Piece>| {
            let refused = send(&house, 1, pieces).await.unwrap_err();
            details(&refused).fields.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(fields(vec![]).await, ["piece"]);
        assert_eq!(fields(vec![document("{}")]).await, ["piece"], "a head comes first");
        let good = || Piece::Head(head(&id, "incidents"));
        assert_eq!(fields(vec![good(), good()]).await, ["piece"], "and once");
        let bad = Piece::Head(pb::ExportPartHead { reason: "why".into(), ..head("x", "") });
        assert_eq!(fields(vec![bad]).await, ["head.export_id", "head.source", "head.reason"]);
        assert_eq!(fields(vec![good(), document("{")]).await, ["document.json"]);
        let bad = pb::ExportFigure { name: "A b".into(), value: "x".into(), reference: String::new() };
        let named = ["figure.name", "figure.value", "figure.reference"];
        assert_eq!(fields(vec![good(), Piece::Figure(bad)]).await, named);
        assert_eq!(fields(vec![Piece::Head(head(&id, "analytics"))]).await, ["head.source"]);
        assert_eq!(reason(add(&house, &test_id(45, 9), "incidents", vec![]).await), "EXPORT_NOT_FOUND");
        assert_eq!(reason(send(&house, 2, vec![good()]).await), "EXPORT_NOT_FOUND", "of another tenant");
        assert!(get(&house, &id).await.export.unwrap().parts.is_empty(), "nothing was written");
        let wrong = pb::CreateExportRequest { run_id: String::new(), attempt: 1, ..wants(5, Scope::Bundle) };
        assert_eq!(details(&create(&house, wrong).await.unwrap_err()).fields.len(), 2);
        let wrong = pb::CreateExportRequest { format: Format::Csv.into(), ..wants(6, Scope::Evidence) };
        assert_eq!(details(&create(&house, wrong).await.unwrap_err()).fields.len(), 1);
    }
}
