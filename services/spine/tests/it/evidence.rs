//! Evidence that an agent captures beside its steps.

use std::collections::BTreeMap;

use contracts_common::common::v1::{StepKind, StepOutcome};
use contracts_logs::v1 as logs;
use contracts_spine::v1::{self as pb, capture_request::Body};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use runspine_types::new_id;

use crate::sagas::house::House;

const CAPTURE: &str = "spine.v1.EvidenceCaptureService/Capture";

fn capture(run_id: &str, step_index: Option<u32>, body: Body) -> pb::CaptureRequest {
    pb::CaptureRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        step_index,
        body: Some(body),
        ..Default::default()
    }
}

fn environment() -> Body {
    Body::Environment(pb::EnvironmentEvidence {
        sdk_mode: pb::SdkMode::Inline.into(),
        sdk_version: "1.4.0".to_owned(),
        environment: pb::EnvironmentTier::Staging.into(),
        feature_flags: vec!["new-checkout".to_owned()],
        sampling_ppm: 250_000,
        ..Default::default()
    })
}

fn activity() -> Body {
    Body::Activity(pb::ActivityEvidence {
        name: "chat".to_owned(),
        model: "atlas-small".to_owned(),
        prompt_digest: vec![4; 32].into(),
        prompt_length: 812,
        completion: pb::ActivityCompletion::Final.into(),
        ..Default::default()
    })
}

fn provider() -> Body {
    Body::Provider(pb::ProviderEvidence {
        provider: "atlas".to_owned(),
        request_id: "req-1".to_owned(),
        model: "atlas-small".to_owned(),
        input_tokens: 80,
        output_tokens: 40,
        http_status: 200,
        ..Default::default()
    })
}

fn decision(decision_id: &str) -> Body {
    Body::PolicyDecision(pb::PolicyDecisionEvidence {
        decision_id: decision_id.to_owned(),
        decision: pb::GrantDecision::Granted.into(),
        evaluated_rules: vec![pb::EvaluatedRule {
            rule_id: "rule-1".to_owned(),
            rule_version: 3,
            result: pb::RuleResult::Pass.into(),
        }],
        ..Default::default()
    })
}

fn retrieval() -> Body {
    Body::Retrieval(pb::RetrievalEvidence {
        connector_id: "wiki".to_owned(),
        action: "query".to_owned(),
        document_digests: vec![vec![5; 32].into()],
        document_count: 1,
        ..Default::default()
    })
}

/// A run with one call of a model, authorized and reported. Gives its id, its fence and the decision.
async fn one_call(house: &House) -> (String, u64, String) {
    let (run_id, fence) = house.run(1).await;
    let ask = pb::AuthorizeStepRequest {
        run_id: run_id.clone(),
        attempt: 1,
        fence,
        step_index: Some(0),
        kind: StepKind::LlmCall.into(),
        name: "chat".to_owned(),
        resource: "atlas-small".to_owned(),
        model: "atlas-small".to_owned(),
        ..Default::default()
    };
    let answer: pb::AuthorizeStepResponse = house.ask("spine.v1.RunService/AuthorizeStep", ask).await;
    let decision_id = answer.decision.unwrap().decision_id;
    let report = pb::RecordStepRequest {
        run_id: run_id.clone(),
        attempt: 1,
        fence,
        step_index: 0,
        decision_id: decision_id.clone(),
        outcome: StepOutcome::Success.into(),
        input_digest: vec![1; 32].into(),
        output_digest: vec![2; 32].into(),
        cost_microusd: Some(5),
        ..Default::default()
    };
    let _: pb::RecordStepResponse = house.ask("spine.v1.RunService/RecordStep", report).await;
    (run_id, fence, decision_id)
}

async fn kept(house: &House, run_id: &str) -> logs::ListEvidenceResponse {
    let list = logs::ListEvidenceRequest { run_id: run_id.to_owned(), ..Default::default() };
    house.ask("logs.v1.EvidenceService/ListEvidence", list).await
}

async fn graded(house: &House, run_id: &str) -> logs::IntegrityEvidence {
    let compute = logs::ComputeIntegrityRequest { run_id: run_id.to_owned(), attempt: 1 };
    let answer: logs::ComputeIntegrityResponse =
        house.ask("logs.v1.EvidenceService/ComputeIntegrity", compute).await;
    answer.integrity.unwrap()
}

/// Everything that is expected of a run with one call of a model, captured: the full score.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_captured_is_kept_under_its_run() {
    let house = House::open().await;
    let (run_id, fence, decision_id) = one_call(&house).await;
    let bodies = [
        (None, environment(), "ee-"),
        (Some(0), activity(), "ae-"),
        (Some(0), provider(), "pe-"),
        (Some(0), decision(&decision_id), "pd-"),
        (Some(0), retrieval(), "re-"),
    ];
    for (step_index, body, prefix) in bodies {
        let request = capture(&run_id, step_index, body);
        let first: pb::CaptureResponse = house.ask(CAPTURE, request.clone()).await;
        assert!(first.evidence_id.starts_with(prefix) && first.failure_id.is_empty(), "{first:?}");
        assert_eq!(house.ask::<_, pb::CaptureResponse>(CAPTURE, request.clone()).await, first, "repeated");
        let other = pb::CaptureRequest { step_index: Some(7), ..request };
        let refused = house.refuse::<_, pb::CaptureResponse>(CAPTURE, other).await;
        assert_eq!(refused, "IDEMPOTENCY_MISMATCH");
    }
    let complete = pb::CompleteRunRequest {
        run_id: run_id.clone(),
        attempt: 1,
        fence,
        outcome: StepOutcome::Success.into(),
        ..Default::default()
    };
    let _: pb::CompleteRunResponse = house.ask("spine.v1.RunService/CompleteRun", complete).await;

    let listed = kept(&house, &run_id).await;
    assert_eq!(listed.evidence.len(), 5);
    for view in &listed.evidence {
        let context = view.item.as_ref().unwrap().context.clone().unwrap();
        assert_eq!((context.run_id.as_str(), context.attempt), (run_id.as_str(), 1));
        assert_eq!(context.source(), logs::EvidenceSource::Sdk);
        assert!(!context.policy_snapshot_id.is_empty(), "the snapshot that judges the run");
    }
    let stored = |n: usize| listed.evidence[n].item.clone().unwrap().body.unwrap();
    let logs::evidence_item::Body::Environment(told) = stored(0) else { panic!("{listed:?}") };
    assert_eq!(
        (told.feature_flags.as_slice(), told.sampling_ppm),
        (&["new-checkout".to_owned()][..], 250_000)
    );
    let logs::evidence_item::Body::PolicyDecision(told) = stored(3) else { panic!("{listed:?}") };
    assert_eq!((told.decision_id, told.evaluated_rules[0].rule_version), (decision_id, 3));
    assert_eq!(graded(&house, &run_id).await.score_ppm, 1_000_000);
}

/// What an agent could not capture is known too, and lowers the grade; what comes later takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_that_failed_is_kept_until_it_is_made_up_for() {
    let house = House::open().await;
    let (run_id, _, _) = one_call(&house).await;
    let failed = pb::EvidenceFailureReport {
        kind: pb::EvidenceKind::Provider.into(),
        reason: pb::EvidenceFailureReason::ProviderTimeout.into(),
        detail: "no headers within 30 s".to_owned(),
        resolution: pb::EvidenceResolution::Transient.into(),
    };
    let request = capture(&run_id, Some(0), Body::Failure(failed));
    let told: pb::CaptureResponse = house.ask(CAPTURE, request).await;
    assert!(told.evidence_id.is_empty() && !told.failure_id.is_empty());
    assert_eq!(told.failure_reason(), pb::EvidenceFailureReason::ProviderTimeout);
    let of_provider = |all: logs::ListEvidenceResponse| {
        all.failures.into_iter().find(|f| f.kind() == logs::EvidenceKind::Provider).unwrap()
    };
    assert_eq!(of_provider(kept(&house, &run_id).await).resolution(), logs::EvidenceResolution::Transient);
    let request = pb::CaptureRequest {
        source: pb::EvidenceSource::Provider.into(),
        ..capture(&run_id, Some(0), provider())
    };
    let made_up: pb::CaptureResponse = house.ask(CAPTURE, request).await;
    let failure = of_provider(kept(&house, &run_id).await);
    assert_eq!(failure.resolution(), logs::EvidenceResolution::Superseded);
    assert_eq!(failure.superseded_by, made_up.evidence_id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_of_nothing_or_of_nobodys_run_is_refused() {
    let house = House::open().await;
    let (run_id, _) = house.run(1).await;
    let refuse = |request| house.refuse::<_, pb::CaptureResponse>(CAPTURE, request);
    assert_eq!(refuse(capture(&new_id(), None, environment())).await, "RUN_NOT_FOUND");
    let second = pb::CaptureRequest { attempt: 2, ..capture(&run_id, None, environment()) };
    assert_eq!(refuse(second).await, "ATTEMPT_NOT_FOUND");
    let nothing = pb::CaptureRequest { body: None, ..capture(&run_id, None, environment()) };
    assert_eq!(refuse(nothing).await, "FIELD_INVALID");
    let mesh = pb::CaptureRequest {
        source: pb::EvidenceSource::Reconciler.into(),
        ..capture(&run_id, None, environment())
    };
    assert_eq!(refuse(mesh).await, "FIELD_INVALID", "the mesh speaks for itself");
    let unnamed = Body::Activity(pb::ActivityEvidence::default());
    assert_eq!(refuse(capture(&run_id, Some(0), unnamed)).await, "FIELD_INVALID", "what logs finds wrong");
    let failures = kept(&house, &run_id).await;
    assert!(failures.evidence.is_empty(), "{failures:?}");
}

/// The shape of every message and enum of a package, by name: each field as number, name, type and label.
fn shapes(set: &[u8], package: &str) -> BTreeMap<String, Vec<String>> {
    let set = FileDescriptorSet::decode(set).unwrap();
    let mut shapes = BTreeMap::new();
    for file in set.file.iter().filter(|f| f.package() == package) {
        for m in &file.message_type {
            let field = |f: &prost_types::FieldDescriptorProto| {
                let kind = f.type_name().replace(package, "");
                format!("{} {} {:?} {kind} {:?}", f.number(), f.name(), f.r#type(), f.label())
            };
            shapes.insert(m.name().to_owned(), m.field.iter().map(field).collect());
        }
        for e in &file.enum_type {
            let value = |v: &prost_types::EnumValueDescriptorProto| format!("{} {}", v.number(), v.name());
            shapes.insert(e.name().to_owned(), e.value.iter().map(value).collect());
        }
    }
    shapes
}

/// The bytes of evidence pass through the spine, so its messages are those of logs to the number.
#[test]
fn the_messages_of_evidence_are_those_of_logs() {
    let set = FileDescriptorSet::decode(contracts_spine::DESCRIPTORS).unwrap();
    let file = set.file.iter().find(|f| f.name() == "runspine/spine/v1/evidence.proto").unwrap();
    let messages = file.message_type.iter().map(|m| m.name().to_owned());
    let names: Vec<String> = messages.chain(file.enum_type.iter().map(|e| e.name().to_owned())).collect();
    assert!(names.len() >= 20, "{names:?}");
    let ours = shapes(contracts_spine::DESCRIPTORS, "runspine.spine.v1");
    let theirs = shapes(contracts_logs::DESCRIPTORS, "runspine.logs.v1");
    for name in names {
        assert_eq!(ours.get(&name), theirs.get(&name), "{name}");
    }
}
