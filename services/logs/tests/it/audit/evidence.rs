//! Evidence through its RPCs.

use contracts_logs::v1::{
    self as pb, EvidenceFailureReason, EvidenceKind, EvidenceResolution, EvidenceSource,
    capture_evidence_request::Body,
};
use runspine_db::{AssertSqlSafe, args};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, tenant};
use runspine_types::{Digest, Hasher};
use tonic::Status;

use super::harness::*;

fn capture(number: u64, step_index: Option<u32>, body: Body) -> pb::CaptureEvidenceRequest {
    pb::CaptureEvidenceRequest {
        run_id: run(1),
        attempt: 1,
        step_index,
        context: Some(pb::EvidenceContext {
            run_id: run(1),
            attempt: 1,
            source: EvidenceSource::Sdk.into(),
            policy_snapshot_id: "ps-7".into(),
            actor: Some(actor("agent-7")),
        }),
        request_id: call(number),
        captured_at: None,
        body: Some(body),
    }
}

fn environment() -> Body {
    Body::Environment(pb::EnvironmentEvidence {
        sdk_mode: pb::SdkMode::Inline.into(),
        environment: pb::EnvironmentTier::Prod.into(),
        client_address: "203.0.113.7".into(),
        ..Default::default()
    })
}

fn failure(kind: EvidenceKind, reason: EvidenceFailureReason) -> Body {
    Body::Failure(pb::EvidenceFailureReport {
        kind: kind.into(),
        reason: reason.into(),
        detail: "why".into(),
        resolution: 0,
    })
}

fn provider() -> Body {
    Body::Provider(pb::ProviderEvidence { provider: "p".into(), model: "m".into(), ..Default::default() })
}

async fn keep(house: &House, r: pb::CaptureEvidenceRequest) -> Result<pb::CaptureEvidenceResponse, Status> {
    let request = house.ask("EvidenceService/CaptureEvidence", r);
    house.evidence.clone().capture_evidence(request).await.map(tonic::Response::into_inner)
}

async fn list(house: &House, who: Who, kinds: &[EvidenceKind]) -> pb::ListEvidenceResponse {
    let kinds = kinds.iter().map(|k| i32::from(*k)).collect();
    let message = pb::ListEvidenceRequest { run_id: run(1), attempt: 0, kinds, ..Default::default() };
    let request = house.ask_as(who, "EvidenceService/ListEvidence", message);
    house.evidence.clone().list_evidence(request).await.unwrap().into_inner()
}

on_both_engines! {
    /// Each kind is kept under its prefix, chained per attempt; a repeat gives the first answer.
    async fn evidence_is_chained_and_keyed(store: TestStore) {
        let house = House::over(store).await;
        let activity = Body::Activity(pb::ActivityEvidence {
            name: "chat".into(),
            completion: pb::ActivityCompletion::Final.into(),
            ..Default::default()
        });
        let decision = Body::PolicyDecision(pb::PolicyDecisionEvidence {
            decision_id: "d-1".into(),
            decision: pb::GrantDecision::Granted.into(),
            ..Default::default()
        });
        let mut answers = Vec::new();
        for (number, body) in [environment(), activity, provider(), decision].into_iter().enumerate() {
            let request = capture(1 + number as u64, Some(0), body);
            let first = keep(&house, request.clone()).await.unwrap();
            assert_eq!(first, keep(&house, request.clone()).await.unwrap());
            let mut other = request;
            other.step_index = Some(9);
            assert_eq!(reason(keep(&house, other).await), "IDEMPOTENCY_MISMATCH");
            answers.push(first);
        }
        let prefixes: Vec<_> = answers.iter().map(|a| &a.evidence_id[..3]).collect();
        assert_eq!(prefixes, ["ee-", "ae-", "pe-", "pd-"]);
        let found = list(&house, Who::Tenant(1), &[]).await;
        let key = format!("{}/{}/1", tenant(1), run(1));
        let mut link = Hasher::new("runspine.evidence.v1").sized(key.as_bytes()).finish();
        for (view, answer) in found.evidence.iter().zip(&answers) {
            link = Hasher::new("runspine.evidence_item.v1").fixed(link.as_bytes()).sized(&view.item_bytes).finish();
            assert_eq!((Digest::from_slice(&view.link), &view.link), (Some(link), &answer.link));
        }
        let Some(pb::evidence_item::Body::Environment(kept)) = found.evidence[0].item.clone().unwrap().body else {
            panic!("the environment is first")
        };
        assert_eq!(kept.client_address, "", "personal data is not kept unless the run allows it");
        assert_eq!(list(&house, Who::Tenant(1), &[EvidenceKind::Provider]).await.evidence.len(), 1);
        assert_eq!(list(&house, Who::Tenant(2), &[]).await.evidence.len(), 0);
        assert_append_only(&house.db().await, "evidence").await;
    }

    /// Every reason of failure is kept once, and a later success takes its place.
    async fn failures_are_kept_and_superseded(store: TestStore) {
        let house = House::over(store).await;
        use EvidenceFailureReason::{CaptureFailed, NetworkPartition, PreAttach, ProviderTimeout, RedactionFailed};
        let reasons = [CaptureFailed, NetworkPartition, PreAttach, ProviderTimeout, RedactionFailed];
        for (number, why) in reasons.into_iter().enumerate() {
            let request = capture(10 + number as u64, Some(0), failure(EvidenceKind::Provider, why));
            let first = keep(&house, request.clone()).await.unwrap();
            assert_eq!((first.failure_reason, first.evidence_id.as_str()), (i32::from(why), ""));
            assert_eq!(first, keep(&house, request).await.unwrap());
        }
        let mut lost = capture(20, None, environment());
        lost.context.as_mut().unwrap().attempt = 2;
        let answer = keep(&house, lost).await.unwrap();
        assert_eq!(answer.failure_reason, i32::from(EvidenceFailureReason::ContextInvalid));
        let late = keep(&house, capture(30, Some(0), provider())).await.unwrap();
        let found = list(&house, Who::Tenant(1), &[]).await;
        assert_eq!(found.failures.len(), 6);
        for failure in found.failures {
            let settled = failure.kind == i32::from(EvidenceKind::Provider);
            let resolution = if settled { EvidenceResolution::Superseded } else { EvidenceResolution::Permanent };
            let by = if settled { late.evidence_id.as_str() } else { "" };
            assert_eq!((failure.resolution, failure.superseded_by.as_str()), (i32::from(resolution), by));
        }
        let failed = house.pull().await.iter().filter(|e| e.r#type == "logs.EvidenceFailed").count();
        assert_eq!(failed, 6);
        assert_append_only(&house.db().await, "evidence_failures").await;
    }

    /// A capture that the store rolls back leaves its failure.
    async fn a_rolled_back_capture_leaves_its_failure(store: TestStore) {
        let house = House::over(store).await;
        let db = house.db().await;
        let trap = db.dialect().pick(
            "CREATE TRIGGER trap BEFORE INSERT ON evidence BEGIN SELECT RAISE(ABORT, 'trap'); END",
            "ALTER TABLE evidence ADD CONSTRAINT trap CHECK (seq < 1)",
        );
        db.write("trap", move |tx| {
            Box::pin(async move {
                tx.execute(AssertSqlSafe(trap), args![]).await?;
                Ok(())
            })
        })
        .await
        .unwrap();
        let answer = keep(&house, capture(1, None, environment())).await.unwrap();
        assert_eq!(answer.failure_reason, i32::from(EvidenceFailureReason::DatabaseError));
        let found = list(&house, Who::Tenant(1), &[]).await;
        assert_eq!((found.evidence.len(), found.failures.len()), (0, 1));
    }

    /// Wrong requests are refused with every violation.
    async fn wrong_captures_are_refused(store: TestStore) {
        let house = House::over(store).await;
        let mut request = capture(1, None, Body::Environment(pb::EnvironmentEvidence::default()));
        request.request_id.clear();
        let refused = keep(&house, request).await.unwrap_err();
        assert_eq!(runspine_rpc::details(&refused).fields.len(), 3);
        let flags = vec!["x".repeat(1_024); 70];
        let huge = pb::EnvironmentEvidence { feature_flags: flags, ..Default::default() };
        assert_eq!(reason(keep(&house, capture(2, None, Body::Environment(huge))).await), "RECORD_TOO_LARGE");
    }
}
