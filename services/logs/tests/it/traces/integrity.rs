//! How complete the evidence of an attempt is.

use contracts_logs::v1::{
    self as pb, EvidenceKind, EvidenceSource, EvidenceStatus, IntegrityGrade, capture_evidence_request::Body,
    evidence_service_client::EvidenceServiceClient,
};
use runspine_testkit::{TestStore, on_both_engines, run, test_id};

use super::harness::{Answer, House, actor, reason};

async fn grade(house: &House, who: u64) -> Answer<pb::ComputeIntegrityResponse> {
    let request = pb::ComputeIntegrityRequest { run_id: run(1), attempt: 0 };
    let request = house.ask_as(who, "EvidenceService/ComputeIntegrity", request);
    EvidenceServiceClient::new(house.way.clone())
        .compute_integrity(request)
        .await
        .map(tonic::Response::into_inner)
}

async fn capture(house: &House, id: u64, step_index: Option<u32>, body: Body) {
    let request = pb::CaptureEvidenceRequest {
        run_id: run(1),
        attempt: 1,
        step_index,
        context: Some(pb::EvidenceContext {
            run_id: run(1),
            attempt: 1,
            source: EvidenceSource::Sdk.into(),
            policy_snapshot_id: "ps-7".into(),
            actor: Some(actor()),
        }),
        request_id: test_id(40, id),
        captured_at: None,
        body: Some(body),
    };
    let request = house.ask("EvidenceService/CaptureEvidence", request);
    EvidenceServiceClient::new(house.way.clone()).capture_evidence(request).await.unwrap();
}

fn environment() -> Body {
    Body::Environment(pb::EnvironmentEvidence {
        sdk_mode: pb::SdkMode::Inline.into(),
        environment: pb::EnvironmentTier::Prod.into(),
        ..Default::default()
    })
}

fn decided(id: &str) -> Body {
    Body::PolicyDecision(pb::PolicyDecisionEvidence {
        decision_id: id.into(),
        decision: pb::GrantDecision::Granted.into(),
        ..Default::default()
    })
}

fn failed() -> Body {
    Body::Failure(pb::EvidenceFailureReport {
        kind: EvidenceKind::PolicyDecision.into(),
        reason: pb::EvidenceFailureReason::CaptureFailed.into(),
        ..Default::default()
    })
}

on_both_engines! {
    async fn the_grade_follows_the_evidence(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let bare = grade(&house, 1).await.unwrap();
        let integrity = bare.integrity.clone().unwrap();
        assert_eq!((integrity.grade(), integrity.status()), (IntegrityGrade::Fail, EvidenceStatus::Failed));
        let lacks: Vec<_> = integrity.classes.iter().filter(|c| !c.reason.is_empty()).map(|c| c.class.as_str()).collect();
        assert_eq!(lacks, ["ENVIRONMENT", "POLICY_DECISION"]);
        assert!(bare.evidence_id.starts_with("ie-"));
        assert_eq!(grade(&house, 1).await.unwrap(), bare, "nothing is new, so nothing is graded again");
        capture(&house, 1, None, environment()).await;
        capture(&house, 2, Some(0), decided("d1")).await;
        capture(&house, 3, Some(1), failed()).await;
        let warned = grade(&house, 1).await.unwrap().integrity.unwrap();
        assert_eq!((warned.grade(), warned.failures), (IntegrityGrade::Warn, 1));
        capture(&house, 4, Some(1), decided("d2")).await;
        let whole = grade(&house, 1).await.unwrap();
        let integrity = whole.integrity.unwrap();
        assert_eq!((integrity.grade(), integrity.score_ppm, integrity.failures), (IntegrityGrade::Pass, 1_000_000, 0));
        assert_eq!(reason(grade(&house, 2).await), "TRACE_NOT_FOUND");
        let proof = house.prove(1).await;
        assert_eq!(proof.overall(), pb::ProofStatus::Verified, "what comes after the seal continues its chain");
        let told = house.published().await.into_iter().filter(|e| e.r#type == "logs.EvidenceGraded").count();
        assert_eq!(told, 3);
        let filter = pb::LedgerFilter { event_types: vec!["logs.EvidenceGraded".into()], ..Default::default() };
        let request = pb::ListEntriesRequest { filter: Some(filter), ..Default::default() };
        let request = house.ask("LedgerService/ListEntries", request);
        let entries = house.ledger.clone().list_entries(request).await.unwrap().into_inner().entries;
        assert_eq!(entries.last().unwrap().entry.as_ref().unwrap().after_digest, whole.link, "witnessed by the ledger");
    }

    async fn an_open_attempt_lacks_its_seal(store: TestStore) {
        let house = House::over(store).await;
        house.begin(1).await;
        capture(&house, 1, None, environment()).await;
        let open = grade(&house, 1).await.unwrap().integrity.unwrap();
        assert_eq!(open.grade(), IntegrityGrade::Fail);
        let retrieval = Body::Retrieval(pb::RetrievalEvidence { connector_id: "crm".into(), ..Default::default() });
        capture(&house, 2, Some(0), retrieval).await;
        let again = grade(&house, 1).await.unwrap().integrity.unwrap();
        assert_eq!(again.score_ppm, open.score_ppm, "a step that was not taken needs no evidence");
    }
}
