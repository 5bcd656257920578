//! The same findings under each profile, and the orders that hold in all of them.

use contracts_common::common::v1::{
    AuditStatus, Directive, RunStatus, StepKind, StepOutcome, TerminationReason, Verdict,
};
use contracts_controls::v1::FreezeEffect;
use contracts_spine::v1::{CancelRunRequest, CompleteRunRequest, RecordStepRequest, StartRunRequest};
use runspine_e2e::{Agent, Mesh, Shape};
use runspine_types::new_id;
use tonic::Code;

use crate::support::{self, primary, refusal};

async fn mesh(profile: &str) -> Mesh {
    let mesh = Mesh::setup(Shape::AllInOne).profile(profile).start().await;
    support::without_proposals(&mesh.owner()).await;
    support::rules(&mesh.owner()).await;
    mesh
}

#[tokio::test]
async fn strict_refuses_what_was_not_decided_or_is_not_known() {
    let mesh = mesh("STRICT").await;
    let agent = Agent::start(&mesh.owner()).await;
    let denied = agent.authorize(agent.ask(0, "delete_account")).await.unwrap();
    let decision = denied.decision.clone().unwrap();
    assert_eq!((decision.verdict(), decision.effective_verdict()), (Verdict::Deny, Verdict::Deny));
    let refused = |status: tonic::Status| {
        assert_eq!(
            refusal(&status),
            (Code::FailedPrecondition, "STEP_NOT_AUTHORIZED".to_owned()),
            "{status:?}"
        );
    };
    refused(agent.record(agent.report(&denied)).await.unwrap_err());
    refused(agent.record(undecided(&agent, 1)).await.unwrap_err());

    ambiguous(&agent, 1).await;
    let status = agent.complete(StepOutcome::Success).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "AMBIGUOUS_UNRESOLVED".to_owned()));
    assert!(!runspine_rpc::details(&status).metadata["positions"].is_empty());
    let accept = CompleteRunRequest { accept_ambiguous: true, ..agent.end(StepOutcome::Success) };
    agent.client.runs().complete_run(accept).await.expect("the end");
    let run = support::ended(&agent).await.run.unwrap();
    assert_eq!(
        (run.status(), run.termination_reason()),
        (RunStatus::Failed, TerminationReason::AgentFailure)
    );
    assert_eq!(run.error_code, "AMBIGUOUS_OUTCOME");
}

#[tokio::test]
async fn standard_denies_and_records_what_happened_all_the_same() {
    let mesh = mesh("STANDARD").await;
    let agent = Agent::start(&mesh.owner()).await;
    let denied = agent.authorize(agent.ask(0, "delete_account")).await.unwrap();
    assert_eq!(support::effective(denied.decision.as_ref()), Verdict::Deny);
    recorded_all_the_same(&agent, &denied).await;
}

#[tokio::test]
async fn observe_only_says_what_it_would_have_blocked() {
    let mesh = mesh("OBSERVE_ONLY").await;
    let agent = Agent::start(&mesh.owner()).await;
    let denied = agent.authorize(agent.ask(0, "delete_account")).await.unwrap();
    let decision = denied.decision.clone().unwrap();
    assert_eq!((decision.verdict(), decision.effective_verdict()), (Verdict::Deny, Verdict::Allow));
    assert_eq!(decision.directive(), Directive::Continue);
    let would = decision.would_block.expect("what would have been blocked");
    assert_eq!(would.verdict(), Verdict::Deny);
    let recorded = agent.record(agent.report(&denied)).await.expect("a record");
    assert!(!recorded.unauthorized, "the agent was told ALLOW");
    let plain = agent.authorize(agent.ask(1, "search")).await.unwrap();
    assert!(plain.decision.unwrap().would_block.is_none(), "only where the verdicts differ");
    let recorded = agent.record(undecided(&agent, 2)).await.expect("a record");
    assert!(recorded.unauthorized);
    agent.complete(StepOutcome::Success).await.expect("the end");
    let run = support::ended(&agent).await.run.unwrap();
    assert_eq!((run.status(), run.audit_status()), (RunStatus::Succeeded, AuditStatus::Complete));
}

#[tokio::test]
async fn observe_only_obeys_a_freeze_a_cancel_and_a_lapsed_lease() {
    let mesh = mesh("OBSERVE_ONLY").await;
    let owner = mesh.owner();

    let frozen = Agent::start(&owner).await;
    support::freeze(&owner, &frozen.run_id, FreezeEffect::Terminate).await;
    stopped(&frozen, "FROZEN").await;

    let cancelled = Agent::start(&owner).await;
    // A step in flight keeps the run open for its drain.
    cancelled.authorize(cancelled.ask(0, "search")).await.unwrap();
    let request = CancelRunRequest {
        request_id: new_id(),
        run_id: cancelled.run_id.clone(),
        note: "nobody waits for it".to_owned(),
        drain_ms: Some(60_000),
        ..CancelRunRequest::default()
    };
    owner.runs().cancel_run(request).await.expect("the cancel");
    let answer = cancelled.authorize(cancelled.ask(1, "search")).await.unwrap();
    let decision = answer.decision.unwrap();
    assert_eq!((decision.effective_verdict(), primary(&decision)), (Verdict::Deny, "STOP_REQUESTED"));
    assert_eq!(decision.directive(), Directive::Terminate);

    let request = StartRunRequest { lease_ttl_ms: 5_000, ..Agent::request() };
    let silent = Agent::start_with(&owner, request).await;
    let run = support::ended(&silent).await.run.unwrap();
    assert_eq!((run.status(), run.error_code.as_str()), (RunStatus::Failed, "STALE_RUN"));
}

/// Asks until the replica knows of the order, and fails when it lets a step go on for more than a second.
async fn stopped(agent: &Agent, code: &str) {
    let begun = std::time::Instant::now();
    for index in 0.. {
        match agent.authorize(agent.ask(index, "search")).await {
            Ok(answer) => {
                let decision = answer.decision.unwrap();
                if decision.effective_verdict() == Verdict::Deny {
                    assert_eq!(primary(&decision), code, "{decision:?}");
                    return;
                }
            }
            Err(status) => {
                assert_eq!(refusal(&status).1, "RUN_ENDED", "{status:?}");
                return;
            }
        }
        assert!(begun.elapsed().as_millis() < 1_000, "the order is not obeyed");
    }
}

fn undecided(agent: &Agent, step_index: u32) -> RecordStepRequest {
    RecordStepRequest {
        run_id: agent.run_id.clone(),
        attempt: 1,
        fence: agent.fence,
        step_index,
        kind: StepKind::ToolCall.into(),
        name: "search".to_owned(),
        outcome: StepOutcome::Success.into(),
        input_digest: vec![1; 32].into(),
        output_digest: vec![2; 32].into(),
        ..RecordStepRequest::default()
    }
}

/// A step whose outcome nobody knows.
async fn ambiguous(agent: &Agent, index: u32) {
    let allowed = agent.authorize(agent.ask(index, "search")).await.expect("a decision");
    let report = RecordStepRequest { outcome: StepOutcome::Ambiguous.into(), ..agent.report(&allowed) };
    agent.record(report).await.expect("a record");
}

async fn recorded_all_the_same(agent: &Agent, denied: &contracts_spine::v1::AuthorizeStepResponse) {
    let recorded = agent.record(agent.report(denied)).await.expect("a record");
    assert!(recorded.unauthorized, "executed despite the denial");
    let recorded = agent.record(undecided(agent, 1)).await.expect("a record");
    assert!(recorded.unauthorized, "executed without a decision");
    ambiguous(agent, 2).await;
    agent.complete(StepOutcome::Success).await.expect("an unknown outcome does not hold up the end");
    let run = support::ended(agent).await.run.unwrap();
    assert_eq!((run.status(), run.audit_status()), (RunStatus::Succeeded, AuditStatus::Complete));
}
