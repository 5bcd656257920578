//! Exports of incidents: every attempt is proved, and what incidents gave is held against the order.

use contracts_common::common::v1::TerminationReason;
use contracts_logs::v1::{
    self as pb, ExportFormat as Format, ExportIncidentKind as Kind, ExportScope as Scope,
    ExportState as State, add_export_part_request::Piece,
};
use prost::Message as _;
use runspine_db::args;
use runspine_rpc::details;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use runspine_types::hash;
use serde_json::{Value, json};

use super::{
    export_parts::{SOURCES, add, figure, head, send},
    exports::{create, download, ended, made, wanted},
};
use crate::traces::harness::{House, reason};

const DIGEST: [u8; 32] = [7; 32];

fn incident() -> String {
    run(90)
}

fn order(id: u64, kind: Kind, runs: &[u64]) -> pb::CreateExportRequest {
    let attempts = runs.iter().map(|n| pb::ExportAttempt { run_id: run(*n), attempt: 1 }).collect();
    pb::CreateExportRequest {
        incident: Some(pb::IncidentOrder {
            incident_id: incident(),
            incident_export_id: test_id(47, id),
            kind: kind.into(),
            part_digest: DIGEST.to_vec().into(),
            attempts,
        }),
        ..wanted(id, Scope::Incident, Format::Unspecified)
    }
}

/// What incidents gave: an incident under a digest, and the attempts that it struck.
fn frozen(digest: [u8; 32], runs: &[u64]) -> Vec<Piece> {
    let attempts = runs.iter().map(|n| {
        Piece::Document(pb::ExportDocument {
            r#type: "runspine.incidents.v1.IncidentAttempt".to_owned(),
            json: json!({"runId": run(*n), "attempt": 1}).to_string(),
        })
    });
    let figures = [
        figure("incident_id", &format!("\"{}\"", incident())),
        figure("incident_part_digest", &format!("\"{}\"", hex::encode(digest))),
        figure("incident_category", "\"EXECUTION_FAILURE\""),
        figure("incident_severity", "\"HIGH\""),
        figure("incident_status", "\"OPEN\""),
        figure("violation_step_index", "2"),
    ];
    figures.into_iter().chain(attempts).collect()
}

/// Has an export made of what incidents gave, and nothing from the others.
async fn gathered(house: &House, order: pb::CreateExportRequest, given: Vec<Piece>) -> pb::Export {
    let export = create(house, order).await.unwrap();
    for source in SOURCES {
        let pieces = if source == "incidents" { given.clone() } else { vec![] };
        add(house, &export.export_id, source, pieces).await.unwrap();
    }
    made(house, &export.export_id).await
}

async fn content(house: &House, id: u64, export: &pb::Export) -> Value {
    assert_eq!(export.state(), State::Completed, "{export:?}");
    let content = download(house, id, &export.export_id).await.unwrap();
    assert_eq!(export.content_digest, hash(&content).to_vec());
    serde_json::from_slice(&content).unwrap()
}

on_both_engines! {
    async fn evidence_proves_every_attempt(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::AgentFailure).await;
        ended(&house, 2, TerminationReason::AgentFailure).await;
        let export = gathered(&house, order(1, Kind::Evidence, &[1, 2]), frozen(DIGEST, &[1, 2])).await;
        assert_eq!((export.run_id.clone(), export.incident.clone()), (run(1), order(1, Kind::Evidence, &[1, 2]).incident));
        let evidence = content(&house, 1, &export).await;
        assert_eq!((&evidence["incident_id"], &evidence["violation_step_index"]), (&incident().into(), &2.into()));
        let runs = evidence["runs"].as_array().unwrap();
        let proved: Vec<_> = runs.iter().map(|r| (r["run_id"].as_str().unwrap(), &r["proof"], &r["contract_verdict"])).collect();
        let (verified, complete) = ("VERIFIED".into(), "COMPLETE".into());
        assert_eq!(proved, [(run(1).as_str(), &verified, &complete), (run(2).as_str(), &verified, &complete)]);
        assert_eq!(evidence["incident_part_digest"], hex::encode(DIGEST));
        assert!(evidence.get("attestation_statement").is_none());
        let report = gathered(&house, order(2, Kind::Soc2, &[1, 2]), frozen(DIGEST, &[1, 2])).await;
        let report = content(&house, 2, &report).await;
        assert_eq!(report["attestation_statement"].as_str().unwrap().matches("agrees with seal").count(), 2);
        assert!(report["control_mappings"].to_string().contains("DEMONSTRATED"), "{}", report["control_mappings"]);
        assert_eq!(report["sources"]["incidents"]["status"], "OK");
        let told: Vec<(bytes::Bytes,)> = house
            .db()
            .await
            .read()
            .fetch_all("SELECT envelope FROM outbox WHERE kind = 'logs.ExportOrdered' ORDER BY 1", args![])
            .await
            .unwrap();
        let told: Vec<pb::ExportOrdered> = told
            .into_iter()
            .map(|(envelope,)| contracts_common::common::v1::EventEnvelope::decode(envelope).unwrap())
            .map(|envelope| pb::ExportOrdered::decode(envelope.data).unwrap())
            .collect();
        assert!(told.iter().all(|order| order.attempts.len() == 2 && !order.incident_export_id.is_empty()), "{told:?}");
        let made: Vec<_> = house.published().await.into_iter().filter(|e| e.r#type == "logs.ExportCompleted").collect();
        let made = pb::ExportCompleted::decode(made[0].data.clone()).unwrap();
        assert_eq!(made.incident_export_id, test_id(47, 1));
    }

    /// Section 17: evidence of an incident is certified over every attempt, and a page is not.
    async fn evidence_is_certified(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::AgentFailure).await;
        ended(&house, 2, TerminationReason::AgentFailure).await;
        let certify = async |id: u64, export_id: &str| {
            let asked = pb::IssueCertificateRequest {
                request_id: test_id(48, id),
                kind: pb::CertificateKind::IncidentExport.into(),
                export_id: export_id.to_owned(),
                ..Default::default()
            };
            let request = house.ask("CertificateService/IssueCertificate", asked);
            let mut client = pb::certificate_service_client::CertificateServiceClient::new(house.way.clone());
            client.issue_certificate(request).await.map(|r| r.into_inner().certificate.unwrap())
        };
        let export = gathered(&house, order(1, Kind::Evidence, &[1, 2]), frozen(DIGEST, &[1, 2])).await;
        let certificate = certify(1, &export.export_id).await.unwrap();
        assert_eq!((certificate.run_id, certificate.attempt), (run(1), 1));
        let payload: Value = serde_json::from_str(&certificate.payload_json).unwrap();
        assert_eq!(payload["claims"]["seal_digests"].as_array().unwrap().len(), 2, "{payload}");
        assert_eq!(payload["subject"]["incident_id"], incident());
        let page = gathered(&house, order(2, Kind::Executive, &[1, 2]), frozen(DIGEST, &[1, 2])).await;
        assert_eq!(reason(certify(2, &page.export_id).await), "EXPORT_NOT_READY");
    }

    /// Another part, other attempts: whoever ordered it did not order what incidents froze.
    async fn what_was_not_frozen_is_not_made(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::AgentFailure).await;
        ended(&house, 2, TerminationReason::AgentFailure).await;
        let given = [frozen([8; 32], &[1]), frozen(DIGEST, &[1, 2]), frozen(DIGEST, &[]), vec![]];
        for (id, given) in (1..).zip(given) {
            let export = gathered(&house, order(id, Kind::Evidence, &[1]), given.clone()).await;
            assert_eq!((export.state(), export.failure_reason.as_str()), (State::Failed, "EXPORT_INCOMPLETE"), "{given:?}");
            assert_eq!(export.missing_required, ["sources.incidents"]);
        }
    }

    /// Evidence with a domain that could not be asked is refused; a page names it.
    async fn a_domain_that_could_not_be_asked_is_named(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::AgentFailure).await;
        for (id, kind) in [(1, Kind::Evidence), (2, Kind::Soc2), (3, Kind::Executive)] {
            let export = create(&house, order(id, kind, &[1])).await.unwrap();
            for source in ["activity", "controls", "incidents"] {
                let given = if source == "incidents" { frozen(DIGEST, &[1]) } else { vec![] };
                add(&house, &export.export_id, source, given).await.unwrap();
            }
            let away = pb::ExportPartHead {
                status: pb::ExportPartStatus::Timeout.into(),
                reason: "DEADLINE_EXCEEDED".into(),
                ..head(&export.export_id, "policies")
            };
            send(&house, 1, vec![Piece::Head(away)]).await.unwrap();
            let export = made(&house, &export.export_id).await;
            if kind == Kind::Executive {
                assert_eq!(content(&house, id, &export).await["sources"]["policies"]["status"], "TIMEOUT");
            } else {
                assert_eq!((export.state(), export.missing_required), (State::Failed, vec!["sources.policies".to_owned()]));
            }
        }
    }

    async fn what_can_not_be_whole_is_refused_and_a_page_names_it(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::AgentFailure).await;
        house.begin(2).await;
        assert_eq!(reason(create(&house, order(1, Kind::Evidence, &[1, 2])).await), "NOT_SEALED");
        assert_eq!(reason(create(&house, order(2, Kind::Soc2, &[1, 3])).await), "TRACE_NOT_FOUND");
        let lacking = create(&house, order(3, Kind::Evidence, &[])).await.unwrap_err();
        let why = details(&lacking);
        assert_eq!(why.reason, "EXPORT_INCOMPLETE");
        let lacks: Vec<_> = why.preconditions.iter().map(|(subject, _)| subject.as_str()).collect();
        let expected = ["run_id", "trace_id", "policy_snapshot_id", "termination_reason", "total_steps", "total_tokens", "total_cost_microusd"];
        assert_eq!(lacks, expected, "an incident that struck no run");
        let page = gathered(&house, order(4, Kind::Executive, &[1, 2]), frozen(DIGEST, &[1, 2])).await;
        let page = content(&house, 1, &page).await;
        assert_eq!(page["open_attempts"], json!([format!("{}/1", run(2))]));
        assert!(page["summary"].as_str().unwrap().contains("is HIGH and OPEN"), "{}", page["summary"]);
        let none = gathered(&house, order(5, Kind::Executive, &[]), frozen(DIGEST, &[])).await;
        assert_eq!(content(&house, 2, &none).await["remediation"]["incident_status"]["value"], "OPEN");
    }

    async fn what_is_wrong_with_an_order_is_said_at_once(store: TestStore) {
        let house = House::over(store).await;
        let fields = async |request: pb::CreateExportRequest| {
            let refused = create(&house, request).await.unwrap_err();
            details(&refused).fields.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        assert_eq!(fields(wanted(1, Scope::Incident, Format::Json)).await, ["incident"]);
        let elsewhere = pb::CreateExportRequest { incident: order(2, Kind::Evidence, &[1]).incident, ..wanted(2, Scope::Audit, Format::Json) };
        assert_eq!(fields(elsewhere).await, ["incident"]);
        let wrong = pb::IncidentOrder {
            incident_id: "x".into(),
            incident_export_id: "y".into(),
            kind: Kind::Evidence.into(),
            part_digest: vec![1].into(),
            attempts: vec![pb::ExportAttempt { run_id: run(1), attempt: 1 }; 2],
        };
        let wrong = pb::CreateExportRequest {
            incident: Some(wrong),
            run_id: run(1),
            ..wanted(3, Scope::Incident, Format::Pdf)
        };
        let named = ["run_id", "incident.incident_id", "incident.incident_export_id", "format", "incident.part_digest", "incident.attempts"];
        assert_eq!(fields(wrong).await, named);
    }
}
