//! How runs are paused, resumed, cancelled, timed out and abandoned.

use contracts_common::common::v1::{
    AuditStatus, Directive, RunPhase, RunStatus, StepOutcome, TerminationReason, Verdict,
};
use contracts_controls::v1::FreezeEffect;
use contracts_incidents::v1::ListRunIncidentsRequest;
use contracts_spine::v1::{
    CancelMode, CancelRunRequest, PauseRunRequest, RenewLeaseRequest, ResumeRunRequest, Run, StartRunRequest,
};
use runspine_e2e::{Agent, Client, Mesh};
use runspine_types::new_id;
use tonic::Code;

use crate::support::{self, cost, primary, refusal};

fn pause(agent: &Agent) -> PauseRunRequest {
    PauseRunRequest {
        request_id: new_id(),
        run_id: agent.run_id.clone(),
        note: "an operator looks at it".to_owned(),
        ..PauseRunRequest::default()
    }
}

fn resume(agent: &Agent) -> ResumeRunRequest {
    ResumeRunRequest {
        request_id: new_id(),
        run_id: agent.run_id.clone(),
        note: "the operator has looked".to_owned(),
        ..ResumeRunRequest::default()
    }
}

fn cancel(agent: &Agent, mode: CancelMode) -> CancelRunRequest {
    CancelRunRequest {
        request_id: new_id(),
        run_id: agent.run_id.clone(),
        note: "nobody waits for it".to_owned(),
        mode: mode.into(),
        drain_ms: (mode == CancelMode::Drain).then_some(500),
    }
}

/// A run with money held for a step in flight.
async fn with_a_hold(owner: &Client, request: StartRunRequest) -> Agent {
    let agent = Agent::start_with(owner, request).await;
    let ask = contracts_spine::v1::AuthorizeStepRequest { estimate: cost(100), ..agent.ask(0, "search") };
    let allowed = agent.authorize(ask).await.expect("a decision");
    assert_eq!(support::effective(allowed.decision.as_ref()), Verdict::Allow);
    assert_eq!(support::budget(&agent).await.holds.len(), 1, "money is held");
    agent
}

/// Fails unless the run ended so, with a complete contract, no hold and one incident.
async fn over(agent: &Agent, status: RunStatus, reason: TerminationReason, code: &str) -> Run {
    let run = support::ended(agent).await.run.unwrap();
    assert_eq!((run.status(), run.termination_reason()), (status, reason), "{run:?}");
    assert_eq!(run.error_code, code, "{run:?}");
    assert_eq!(run.audit_status(), AuditStatus::Complete, "{run:?}");
    let holds = support::budget(agent).await.holds;
    assert!(holds.is_empty(), "{holds:?}");
    run
}

#[tokio::test]
async fn a_pause_stops_steps_and_a_resume_lets_them_go_on() {
    let mesh = Mesh::all_in_one().await;
    let agent = Agent::start(&mesh.owner()).await;
    let mut runs = agent.client.runs();
    let paused = runs.pause_run(pause(&agent)).await.expect("a pause").into_inner();
    assert_eq!(paused.run.unwrap().status(), RunStatus::Paused);
    assert_eq!(paused.pause.unwrap().reason, "MANUAL_PAUSE");
    let told = agent.authorize(agent.ask(0, "search")).await.expect("a decision").decision.unwrap();
    assert_eq!((told.verdict(), told.directive()), (Verdict::Deny, Directive::Pause));
    assert_eq!(primary(&told), "RUN_PAUSED");
    let resumed = runs.resume_run(resume(&agent)).await.expect("a resume").into_inner();
    assert_eq!(resumed.run.unwrap().status(), RunStatus::Running);
    assert_eq!((resumed.cleared.as_slice(), resumed.left.len()), (["MANUAL_PAUSE".to_owned()].as_slice(), 0));
    let renew = RenewLeaseRequest {
        request_id: new_id(),
        run_id: agent.run_id.clone(),
        attempt: 1,
        fence: agent.fence,
        ..RenewLeaseRequest::default()
    };
    let lease = runs.renew_lease(renew).await.expect("a lease").into_inner().lease.unwrap();
    let agent = Agent { fence: lease.fence, ..agent };
    agent.take(1, "search").await.expect("a step");
    let status = runs.resume_run(resume(&agent)).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "RUN_NOT_PAUSED".to_owned()));
    agent.complete(StepOutcome::Success).await.expect("the end");
    over(&agent, RunStatus::Succeeded, TerminationReason::Completed, "").await;
}

#[tokio::test]
async fn only_who_has_the_authority_resumes() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let agent = Agent::start(&owner).await;
    owner.runs().pause_run(pause(&agent)).await.expect("a pause");
    let machine = runspine_spine::door::issue::NewKey {
        tenant: mesh.tenant().to_owned(),
        actor_kind: "SERVICE".to_owned(),
        actor: "ci".to_owned(),
        roles: vec!["OPERATOR".to_owned()],
        ..Default::default()
    };
    let machine = mesh.somebody(machine).await;
    let named = ResumeRunRequest { note: "TENANT_ADMIN says that it may".to_owned(), ..resume(&agent) };
    let status = machine.runs().resume_run(named).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "RESUME_NOT_AUTHORIZED".to_owned()), "{status:?}");
    let evidence =
        contracts_spine::v1::GetRunEvidenceRequest { run_id: agent.run_id.clone(), ..Default::default() };
    let ledger = owner.runs().get_run_evidence(evidence).await.unwrap().into_inner().ledger;
    assert!(ledger.iter().any(|e| e.event_type == "spine.RunResumeRefused"), "the refusal is on the ledger");

    support::freeze(&owner, &agent.run_id, FreezeEffect::Pause).await;
    let person = mesh.person("dora", "DEVELOPER").await;
    let resumed =
        person.runs().resume_run(resume(&agent)).await.expect("a person of the tenant may").into_inner();
    assert_eq!(resumed.cleared, ["MANUAL_PAUSE"]);
}

#[tokio::test]
async fn a_freeze_that_pauses_is_resumed_by_nobody() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let agent = Agent::start(&owner).await;
    support::freeze(&owner, &agent.run_id, FreezeEffect::Pause).await;
    let told = agent.authorize(agent.ask(0, "search")).await.expect("a decision").decision.unwrap();
    assert_eq!((told.verdict(), primary(&told)), (Verdict::Deny, "FROZEN"), "{told:?}");
    assert_eq!(told.directive(), Directive::Pause);
    let view = support::until(&agent, |run| run.status() == RunStatus::Paused).await;
    assert!(view.pauses.iter().any(|p| p.reason == "FREEZE"), "{:?}", view.pauses);
    let status = owner.runs().resume_run(resume(&agent)).await.unwrap_err();
    assert_eq!(refusal(&status).1, "RESUME_NOT_AUTHORIZED");
}

#[tokio::test]
async fn a_freeze_that_terminates_ends_the_run() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    support::run_budget(&owner, 100_000).await;
    let agent = with_a_hold(&owner, Agent::request()).await;
    support::freeze(&owner, &agent.run_id, FreezeEffect::Terminate).await;
    // Orders reach the replica by a stream: the first steps after the commit may still be let go on.
    let mut index = 1;
    let told = loop {
        let decision =
            agent.authorize(agent.ask(index, "search")).await.expect("a decision").decision.unwrap();
        if decision.verdict() == Verdict::Deny {
            break decision;
        }
        index += 1;
    };
    assert_eq!((primary(&told), told.directive()), ("FROZEN", Directive::Terminate), "{told:?}");
    over(&agent, RunStatus::Cancelled, TerminationReason::Frozen, "FROZEN").await;
}

#[tokio::test]
async fn a_cancelled_run_may_record_what_is_in_flight() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    support::run_budget(&owner, 100_000).await;
    let agent = Agent::start(&owner).await;
    let allowed = agent.authorize(agent.ask(0, "search")).await.expect("a decision");
    let request = CancelRunRequest { drain_ms: Some(3_000), ..cancel(&agent, CancelMode::Drain) };
    owner.runs().cancel_run(request).await.expect("the cancel");
    let recorded = agent.record(agent.report(&allowed)).await.expect("a record");
    assert!(!recorded.late, "{recorded:?}");
    assert_eq!(recorded.directive(), Directive::Terminate);
    over(&agent, RunStatus::Cancelled, TerminationReason::UserAbort, "CANCELLED").await;
}

#[tokio::test]
async fn a_run_whose_agent_ignores_a_cancel_is_ended_after_the_drain() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    support::run_budget(&owner, 100_000).await;
    let agent = with_a_hold(&owner, Agent::request()).await;
    owner.runs().cancel_run(cancel(&agent, CancelMode::Drain)).await.expect("the cancel");
    over(&agent, RunStatus::Cancelled, TerminationReason::UserAbort, "CANCELLED").await;
}

#[tokio::test]
async fn a_cancel_now_fences_the_agent_at_once() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    support::run_budget(&owner, 100_000).await;
    let agent = with_a_hold(&owner, Agent::request()).await;
    owner.runs().cancel_run(cancel(&agent, CancelMode::Now)).await.expect("the cancel");
    let status = agent.authorize(agent.ask(1, "search")).await.unwrap_err();
    assert!(["RUN_ENDED", "STALE_FENCE"].contains(&refusal(&status).1.as_str()), "{status:?}");
    over(&agent, RunStatus::Cancelled, TerminationReason::UserAbort, "CANCELLED").await;
}

#[tokio::test]
async fn a_run_over_its_time_is_ended() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let request = StartRunRequest { run_timeout_ms: 1_000, max_attempts: 1, ..Agent::request() };
    let agent = Agent::start_with(&owner, request).await;
    let run = over(&agent, RunStatus::Failed, TerminationReason::Timeout, "RUN_TIMEOUT").await;
    assert_eq!(run.phase(), RunPhase::Failed);
}

#[tokio::test]
async fn a_silent_run_is_ended_when_its_lease_lapses() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    support::run_budget(&owner, 100_000).await;
    let request = StartRunRequest { lease_ttl_ms: 5_000, max_attempts: 1, ..Agent::request() };
    let agent = with_a_hold(&owner, request).await;
    over(&agent, RunStatus::Failed, TerminationReason::SystemFailure, "STALE_RUN").await;
    let request = ListRunIncidentsRequest { run_id: agent.run_id.clone() };
    let found = owner.incidents().list_run_incidents(request).await.unwrap().into_inner().incidents;
    assert_eq!(found.len(), 1, "{found:?}");
    let status = agent.authorize(agent.ask(1, "search")).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::FailedPrecondition, "RUN_ENDED".to_owned()));
}
