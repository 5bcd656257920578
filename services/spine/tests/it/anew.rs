//! A paused run goes on as a new attempt when somebody with the authority says so.

use contracts_common::common::v1::{
    AuditStatus, RunPhase, RunStatus, StepKind, StepOutcome, TerminationReason,
};
use contracts_spine::v1 as pb;
use runspine_types::new_id;

use crate::sagas::house::House;

const RESUME: &str = "spine.v1.RunService/ResumeRun";

async fn pause(house: &House, run_id: &str) {
    let pause = pb::PauseRunRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        note: "somebody looks into it".to_owned(),
        ..Default::default()
    };
    let _: pb::PauseRunResponse = house.ask("spine.v1.RunService/PauseRun", pause).await;
}

fn anew(run_id: &str) -> pb::ResumeRunRequest {
    pb::ResumeRunRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        note: "its rules were recalled".to_owned(),
        as_new_attempt: true,
        ..Default::default()
    }
}

async fn authorize(house: &House, run_id: &str, fence: u64) -> String {
    let ask = pb::AuthorizeStepRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        fence,
        step_index: Some(0),
        kind: StepKind::ToolCall.into(),
        name: "search".to_owned(),
        tool: "search".to_owned(),
        arguments_digest: vec![3; 32].into(),
        ..Default::default()
    };
    let answer: pb::AuthorizeStepResponse = house.ask("spine.v1.RunService/AuthorizeStep", ask).await;
    answer.decision.unwrap().decision_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_goes_on_as_a_new_attempt() {
    let house = House::open().await;
    let (run_id, fence) = house.run(3).await;
    let decision_id = authorize(&house, &run_id, fence).await;
    pause(&house, &run_id).await;

    let order = anew(&run_id);
    let refused = house.refuse::<_, pb::ResumeRunResponse>(RESUME, order.clone()).await;
    assert_eq!(refused, "AMBIGUOUS_UNRESOLVED", "a step is in flight");
    assert_eq!(house.get(&run_id).await.run.unwrap().status(), RunStatus::Paused, "and nothing has changed");
    let report = pb::RecordStepRequest {
        run_id: run_id.clone(),
        attempt: 1,
        fence,
        step_index: 0,
        decision_id,
        outcome: StepOutcome::Success.into(),
        input_digest: vec![1; 32].into(),
        output_digest: vec![2; 32].into(),
        cost_microusd: Some(5),
        ..Default::default()
    };
    let _: pb::RecordStepResponse = house.ask("spine.v1.RunService/RecordStep", report).await;

    let told: pb::ResumeRunResponse = house.ask(RESUME, order.clone()).await;
    assert!(told.cleared.is_empty() && told.left.is_empty(), "the pause ended with its attempt");
    assert_eq!(told.next_attempt.as_ref().unwrap().attempt, 2);
    let again: pb::ResumeRunResponse = house.ask(RESUME, order).await;
    assert_eq!(again, told, "the same order, the same answer");

    let attempts = house.get(&run_id).await.attempts;
    assert_eq!(attempts.len(), 2);
    let first = &attempts[0];
    assert_eq!((first.phase(), first.status()), (RunPhase::Failed, RunStatus::Retry));
    assert_eq!(
        (first.termination_reason(), first.error_code.as_str()),
        (TerminationReason::SystemFailure, "MANUAL_STOP")
    );
    assert_eq!(house.contract("run", &run_id, 1).await.audit_status(), AuditStatus::Complete);

    // No back-off: whoever comes for it has it.
    let claim = pb::RenewLeaseRequest {
        request_id: new_id(),
        run_id: run_id.clone(),
        attempt: 2,
        claim: true,
        ..Default::default()
    };
    let taken: pb::RenewLeaseResponse = house.ask("spine.v1.RunService/RenewLease", claim).await;
    assert!(taken.lease.is_some(), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_attempt_is_not_followed() {
    let house = House::open().await;
    let (run_id, _) = house.run(1).await;
    let refused = house.refuse::<_, pb::ResumeRunResponse>(RESUME, anew(&run_id)).await;
    assert_eq!(refused, "RUN_NOT_PAUSED");
    pause(&house, &run_id).await;
    let refused = house.refuse::<_, pb::ResumeRunResponse>(RESUME, anew(&run_id)).await;
    assert_eq!(refused, "ATTEMPTS_EXHAUSTED");
    let order = pb::ResumeRunRequest { as_new_attempt: false, ..anew(&run_id) };
    let told: pb::ResumeRunResponse = house.ask(RESUME, order).await;
    assert_eq!((told.run.unwrap().status(), told.next_attempt), (RunStatus::Running, None));
}
