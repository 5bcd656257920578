//! Exports of incidents: what is known is frozen once, and each ends once.

use contracts_incidents::v1 as pb;
use prost::Message as _;
use runspine_errors::mesh;
use runspine_incidents_domain::reasons;
use runspine_rpc::details;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use runspine_types::hash;
use tonic::{Response, Status};

use crate::harness::{House, failed, refused};

type Answer = Result<pb::IncidentExport, Status>;

fn export_id(number: u64) -> String {
    test_id(70, number)
}

fn asked(number: u64, incident_id: &str) -> pb::PrepareExportRequest {
    pb::PrepareExportRequest {
        export_id: export_id(number),
        incident_id: incident_id.to_owned(),
        kind: pb::IncidentExportKind::Evidence.into(),
        reason: "asked for by the auditor".to_owned(),
    }
}

async fn prepared(house: &House, tenant: u64, request: pb::PrepareExportRequest) -> Answer {
    let request = house.ask_as(tenant, "kim", "IncidentExportService/PrepareExport", request);
    house.exports.clone().prepare_export(request).await.map(|r| r.into_inner().export.unwrap())
}

/// Freezes what is known of an incident for export `number`.
pub async fn prepare(house: &House, number: u64, incident_id: &str) -> Answer {
    prepared(house, 1, asked(number, incident_id)).await
}

fn made(export_id: &str) -> pb::CompleteExportRequest {
    pb::CompleteExportRequest {
        export_id: export_id.to_owned(),
        content_export_id: test_id(71, 1),
        content_digest: vec![7; 32].into(),
        content_size: 70_000,
    }
}

async fn completed(house: &House, request: pb::CompleteExportRequest) -> Answer {
    let request = house.ask("IncidentExportService/CompleteExport", request);
    house.exports.clone().complete_export(request).await.map(|r| r.into_inner().export.unwrap())
}

/// Ends an export with a content.
pub async fn complete(house: &House, export_id: &str) -> Answer {
    completed(house, made(export_id)).await
}

async fn fail(house: &House, export_id: &str, reason: &str, missing: &[&str]) -> Answer {
    let request = pb::FailExportRequest {
        export_id: export_id.to_owned(),
        reason: reason.to_owned(),
        missing: missing.iter().map(|name| (*name).to_owned()).collect(),
    };
    let request = house.ask("IncidentExportService/FailExport", request);
    house.exports.clone().fail_export(request).await.map(|r| r.into_inner().export.unwrap())
}

async fn get(house: &House, tenant: u64, export_id: &str) -> Result<pb::GetIncidentExportResponse, Status> {
    let message = pb::GetIncidentExportRequest { export_id: export_id.to_owned() };
    let request = house.ask_as(tenant, "kim", "IncidentExportService/GetIncidentExport", message);
    house.exports.clone().get_incident_export(request).await.map(Response::into_inner)
}

on_both_engines! {
    /// What happens later to the incident changes nothing of what was frozen.
    async fn a_part_is_frozen_by_its_digest(store: TestStore) {
        let house = House::over(store).await;
        let incident_id = house.report(failed(1)).await.unwrap().incident_id;
        house.report(failed(2)).await.unwrap();
        let export = prepare(&house, 1, &incident_id).await.unwrap();
        assert_eq!(export.state(), pb::IncidentExportState::Pending);
        let struck: Vec<_> = export.attempts.iter().map(|a| (a.run_id.clone(), a.attempt)).collect();
        assert_eq!(struck, [(run(1), 1), (run(2), 1)], "the one that opened it first");
        house.after(std::time::Duration::from_secs(1));
        house.report(failed(3)).await.unwrap();
        assert_eq!(prepare(&house, 1, &incident_id).await.unwrap(), export, "the first answer");
        let found = get(&house, 1, &export.export_id).await.unwrap();
        assert_eq!(found.export.unwrap(), export);
        assert_eq!(hash(&found.part).to_vec(), export.part_digest);
        let part = pb::IncidentExportPart::decode(found.part).unwrap();
        assert_eq!((part.occurrences.len(), part.incident.unwrap().occurrence_count), (2, 2));
        assert_eq!((part.events.is_empty(), part.links.is_empty()), (false, house.get(&incident_id).await.links.is_empty()));
        let other = pb::PrepareExportRequest { reason: "another".into(), ..asked(1, &incident_id) };
        refused(prepared(&house, 1, other).await, &mesh::IDEMPOTENCY_MISMATCH);
        refused(prepare(&house, 2, &test_id(8, 9)).await, &reasons::INCIDENT_NOT_FOUND);
        refused(prepared(&house, 2, asked(3, &incident_id)).await, &reasons::INCIDENT_NOT_FOUND);
        assert_eq!(house.count("incident_exports").await, 1);
    }

    async fn an_export_ends_once_and_is_told_when_it_was_made(store: TestStore) {
        let house = House::over(store).await;
        let incident_id = house.report(failed(1)).await.unwrap().incident_id;
        let (first, second) = (export_id(1), export_id(2));
        for number in [1, 2] {
            prepare(&house, number, &incident_id).await.unwrap();
        }
        let export = complete(&house, &first).await.unwrap();
        assert_eq!((export.state(), export.content_size), (pb::IncidentExportState::Completed, 70_000));
        assert_eq!(complete(&house, &first).await.unwrap(), export, "the first answer");
        let other = pb::CompleteExportRequest { content_size: 1, ..made(&first) };
        refused(completed(&house, other).await, &mesh::IDEMPOTENCY_MISMATCH);
        refused(fail(&house, &first, "EXPORT_INCOMPLETE", &[]).await, &reasons::INVALID_TRANSITION);
        let given_up = fail(&house, &second, "EXPORT_INCOMPLETE", &["trace_id", "sources.policies"]).await.unwrap();
        assert_eq!((given_up.state(), given_up.failure_reason.as_str()), (pb::IncidentExportState::Failed, "EXPORT_INCOMPLETE"));
        assert_eq!(given_up.missing, ["trace_id", "sources.policies"]);
        refused(complete(&house, &second).await, &reasons::INVALID_TRANSITION);
        refused(complete(&house, &export_id(3)).await, &reasons::EXPORT_NOT_FOUND);
        let told: Vec<_> = house.published().await.into_iter().filter(|e| e.r#type == "incidents.IncidentExported").collect();
        assert_eq!(told.len(), 1, "what was given up is no export");
        let event = pb::IncidentExported::decode(told[0].data.clone()).unwrap();
        assert_eq!((event.export_id, event.part_digest), (first.clone(), export.part_digest));
        assert_eq!((told[0].reason.as_str(), told[0].run_id.clone()), ("asked for by the auditor", run(1)));
        let links = house.get(&incident_id).await.links;
        let linked: Vec<_> = links.iter().filter(|l| l.link_type() == pb::LinkType::Export).collect();
        assert_eq!((linked.len(), &linked[0].target_id), (1, &first));
        refused(get(&house, 2, &first).await, &reasons::EXPORT_NOT_FOUND);
    }

    async fn exports_are_listed_newest_first(store: TestStore) {
        let house = House::over(store).await;
        let incident_id = house.report(failed(1)).await.unwrap().incident_id;
        for number in 1..=3 {
            prepare(&house, number, &incident_id).await.unwrap();
        }
        let list = async |request: pb::ListIncidentExportsRequest| {
            let request = house.ask("IncidentExportService/ListIncidentExports", request);
            house.exports.clone().list_incident_exports(request).await.map(Response::into_inner)
        };
        let page = pb::ListIncidentExportsRequest { incident_id: incident_id.clone(), page_size: 2, ..Default::default() };
        let first = list(page.clone()).await.unwrap();
        let rest = pb::ListIncidentExportsRequest { page_token: first.next_page_token.clone(), ..page.clone() };
        let rest = list(rest).await.unwrap();
        let ids: Vec<_> = first.exports.iter().chain(&rest.exports).map(|e| e.export_id.clone()).collect();
        assert_eq!(ids, [export_id(3), export_id(2), export_id(1)]);
        assert!(rest.next_page_token.is_empty());
        let none = pb::ListIncidentExportsRequest { incident_id: test_id(8, 9), ..Default::default() };
        assert!(list(none).await.unwrap().exports.is_empty());
        let wrong = pb::ListIncidentExportsRequest { page_token: first.next_page_token, ..Default::default() };
        refused(list(wrong).await, &mesh::PAGE_TOKEN_MISMATCH);
    }

    /// Evidence is whole or refused; a page is cut. And what is wrong with a call is said at once.
    async fn what_is_too_much_or_wrong_is_refused(store: TestStore) {
        let house = House::over(store).await;
        let opened = pb::CreateIncidentRequest {
            title: "many".into(),
            severity: 2,
            category: 6,
            run_ids: (1..=100).map(run).collect(),
            request_id: test_id(72, 1),
            ..Default::default()
        };
        let opened = house.ask("IncidentService/CreateIncident", opened);
        let opened = house.incidents.clone().create_incident(opened).await.unwrap().into_inner();
        let incident_id = opened.incident.unwrap().incident_id;
        assert_eq!(prepare(&house, 3, &incident_id).await.unwrap().attempts.len(), 100);
        // One more than a person can name; what the mesh reports is grouped without such a bound.
        let more = "INSERT INTO incident_occurrences (id, tenant_id, incident_id, run_id, attempt, cause_code, fact_id, \
                    tool_name, occurred_at, recorded_at, cost_microusd, overflow) SELECT 'more', tenant_id, incident_id, \
                    'another', 1, cause_code, fact_id, tool_name, occurred_at, recorded_at, 0, 0 FROM incident_occurrences \
                    LIMIT 1";
        house.by_hand(more).await.unwrap();
        refused(prepare(&house, 1, &incident_id).await, &reasons::EXPORT_TOO_LARGE);
        let page = pb::PrepareExportRequest { kind: 3, ..asked(2, &incident_id) };
        assert_eq!(prepared(&house, 1, page).await.unwrap().attempts.len(), 100);
        let wrong = pb::PrepareExportRequest { export_id: "x".into(), incident_id: "y".into(), kind: 9, reason: "r".repeat(501) };
        let wrong = prepared(&house, 1, wrong).await.unwrap_err();
        let fields: Vec<_> = details(&wrong).fields.into_iter().map(|(field, _)| field).collect();
        assert_eq!(fields, ["export_id", "incident_id", "kind", "reason"]);
    }
}
