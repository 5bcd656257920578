//! Runs that are tried again.

use std::time::Duration;

use contracts_common::common::v1::{
    AuditStatus, ErrorClass, RunPhase, RunStatus, StepOutcome, TerminationReason,
};
use contracts_spine::v1::{
    CompleteRunRequest, CompleteRunResponse, ExportRunBundleRequest, GetRunEvidenceRequest,
    GetRunProofRequest, ProofStatus, RenewLeaseRequest, StartRunRequest, WatchRunRequest,
    watch_run_response::Body,
};
use runspine_e2e::{Agent, Client, Mesh, Shape};
use runspine_testkit::until_ok;
use runspine_types::new_id;
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::support::{self, refusal};

/// A mesh whose further attempts wait for nothing but a claim.
async fn mesh() -> Mesh {
    Mesh::setup(Shape::AllInOne).set("spine.kernel.retry_base_ms", 0).start().await
}

fn tried(max_attempts: u32) -> StartRunRequest {
    StartRunRequest { max_attempts, ..Agent::request() }
}

/// Ends attempt `number` with a failure of this class.
async fn fail(agent: &Agent, number: u32, class: ErrorClass) -> CompleteRunResponse {
    let request =
        CompleteRunRequest { attempt: number, error_class: class.into(), ..agent.end(StepOutcome::Failure) };
    agent.client.runs().complete_run(request).await.expect("the end").into_inner()
}

/// Takes attempt `number`, once it waits.
async fn claim(agent: &Agent, number: u32) -> Agent {
    let lease = until_ok(Duration::from_secs(30), || async {
        let request = RenewLeaseRequest {
            request_id: new_id(),
            run_id: agent.run_id.clone(),
            attempt: number,
            claim: true,
            ..RenewLeaseRequest::default()
        };
        let answer = agent.client.runs().renew_lease(request).await.map_err(|s| s.to_string())?.into_inner();
        answer.lease.ok_or_else(|| format!("not yet: {} ms", answer.retry_after_ms))
    })
    .await;
    Agent { fence: lease.fence, ..agent.clone() }
}

/// One step of attempt `number`.
async fn step(agent: &Agent, number: u32) {
    let ask = contracts_spine::v1::AuthorizeStepRequest { attempt: number, ..agent.ask(0, "search") };
    let answer = agent.authorize(ask).await.expect("a decision");
    let report = contracts_spine::v1::RecordStepRequest { attempt: number, ..agent.report(&answer) };
    agent.record(report).await.expect("a record");
}

#[tokio::test]
async fn three_attempts_leave_three_sealed_traces_contracts_and_evaluations() {
    let mesh = mesh().await;
    let owner = mesh.owner();
    let mut agent = Agent::start_with(&owner, tried(3)).await;
    let watch = WatchRunRequest { run_id: agent.run_id.clone(), ..WatchRunRequest::default() };
    let mut watching = owner.runs().watch_run(watch).await.expect("a watch").into_inner();
    for number in 1..=3 {
        if number > 1 {
            agent = claim(&agent, number).await;
        }
        step(&agent, number).await;
        let ended = fail(&agent, number, ErrorClass::Transient).await;
        assert!(ended.saga.as_ref().is_some_and(|s| s.is_complete && s.all_domains_succeeded), "{ended:?}");
        assert_eq!(ended.next_attempt.map(|n| n.attempt), (number < 3).then_some(number + 1));
    }
    let view = support::ended(&agent).await;
    let run = view.run.as_ref().unwrap();
    assert_eq!((run.attempt, run.status()), (3, RunStatus::Failed));
    assert_eq!(
        (run.error_code.as_str(), run.termination_reason()),
        ("RETRY_EXHAUSTED", TerminationReason::AgentFailure)
    );
    let ends: Vec<_> = view.attempts.iter().map(|a| (a.attempt, a.status(), a.error_code.as_str())).collect();
    let expected = [
        (1, RunStatus::Retry, "TOOL_BROKE"),
        (2, RunStatus::Retry, "TOOL_BROKE"),
        (3, RunStatus::Failed, "RETRY_EXHAUSTED"),
    ];
    assert_eq!(ends, expected);
    assert_eq!(view.attempts[1].reason, "TOOL_BROKE");

    let proof = GetRunProofRequest { run_id: agent.run_id.clone(), attempt: 0 };
    let proof = owner.runs().get_run_proof(proof).await.expect("a proof").into_inner();
    assert_eq!(proof.overall(), ProofStatus::Verified, "{proof:?}");
    assert_eq!(proof.traces.iter().map(|t| t.attempt).collect::<Vec<_>>(), [1, 2, 3]);

    let evidence = GetRunEvidenceRequest { run_id: agent.run_id.clone(), ..GetRunEvidenceRequest::default() };
    let evidence = owner.runs().get_run_evidence(evidence).await.expect("the evidence").into_inner();
    let mut judged: Vec<u32> = evidence.evaluations.iter().map(|e| e.attempt).collect();
    judged.sort_unstable();
    assert_eq!(judged, [1, 2, 3], "one evaluation of each attempt");
    until_ok(Duration::from_secs(30), || async {
        let attempts = agent.view().await.expect("the run").attempts;
        let complete = attempts.iter().all(|a| a.audit_status() == AuditStatus::Complete);
        if complete { Ok(()) } else { Err(attempts) }
    })
    .await;

    let export = ExportRunBundleRequest {
        request_id: new_id(),
        run_id: agent.run_id.clone(),
        reason: "an auditor asks for it".to_owned(),
        ..ExportRunBundleRequest::default()
    };
    let mut pieces = owner.bundles().export_run_bundle(export).await.expect("a bundle").into_inner();
    let mut bundle = Vec::new();
    while let Some(piece) = pieces.next().await {
        bundle.extend_from_slice(&piece.expect("a piece").chunk);
    }
    let bundle = String::from_utf8(bundle).expect("text");
    assert!(bundle.lines().count() > 9, "{bundle}");

    let mut ends = Vec::new();
    while let Some(item) = watching.next().await {
        match item.expect("an item").body {
            Some(Body::End(end)) => ends.push(end.status()),
            Some(Body::Event(event)) => assert!(event.attempt <= 3 && ends.is_empty(), "{event:?}"),
            _ => {}
        }
    }
    assert_eq!(ends, [RunStatus::Failed], "one end, after the last seal");
}

#[tokio::test]
async fn what_cannot_pass_ends_the_run_at_once() {
    let mesh = mesh().await;
    let owner = mesh.owner();
    let permanent = Agent::start_with(&owner, tried(3)).await;
    step(&permanent, 1).await;
    let ended = fail(&permanent, 1, ErrorClass::Permanent).await;
    assert_eq!((ended.next_attempt, ended.run.unwrap().status()), (None, RunStatus::Failed));

    let unwilling = Agent::start_with(&owner, tried(3)).await;
    let request = CompleteRunRequest {
        error_class: ErrorClass::Transient.into(),
        retryable: Some(false),
        ..unwilling.end(StepOutcome::Failure)
    };
    let ended = owner.runs().complete_run(request).await.expect("the end").into_inner();
    assert_eq!((ended.next_attempt, ended.run.unwrap().error_code.as_str()), (None, "TOOL_BROKE"));

    // A step that was allowed and never reported might have been done.
    let unsure = Agent::start_with(&owner, tried(3)).await;
    unsure.authorize(unsure.ask(0, "search")).await.expect("a decision");
    let ended = fail(&unsure, 1, ErrorClass::Transient).await;
    assert_eq!((ended.next_attempt, ended.run.unwrap().status()), (None, RunStatus::Failed));
}

#[tokio::test]
async fn an_attempt_waits_for_its_time_and_succeeds_like_any_other() {
    let mesh = Mesh::setup(Shape::AllInOne).set("spine.kernel.retry_base_ms", 1_500).start().await;
    let owner = mesh.owner();
    let agent = Agent::start_with(&owner, tried(2)).await;
    step(&agent, 1).await;
    let ended = fail(&agent, 1, ErrorClass::RateLimit).await;
    assert!(ended.next_attempt.is_some_and(|n| n.attempt == 2 && n.not_before.is_some()));
    let early = RenewLeaseRequest {
        request_id: new_id(),
        run_id: agent.run_id.clone(),
        attempt: 2,
        claim: true,
        ..RenewLeaseRequest::default()
    };
    let told = owner.runs().renew_lease(early).await.expect("an answer").into_inner();
    assert!(told.lease.is_none() && (1..=1_800).contains(&told.retry_after_ms), "{told:?}");
    // Whoever holds the old lease holds nothing of the new attempt.
    let stale =
        agent.authorize(contracts_spine::v1::AuthorizeStepRequest { attempt: 1, ..agent.ask(1, "search") });
    assert_eq!(refusal(&stale.await.unwrap_err()), (Code::FailedPrecondition, "RUN_ENDED".to_owned()));

    let agent = claim(&agent, 2).await;
    step(&agent, 2).await;
    let end = CompleteRunRequest { attempt: 2, ..agent.end(StepOutcome::Success) };
    let ended = owner.runs().complete_run(end).await.expect("the end").into_inner().run.unwrap();
    assert_eq!(
        (ended.phase(), ended.status(), ended.attempt),
        (RunPhase::Completed, RunStatus::Succeeded, 2)
    );
    assert_eq!(ended.audit_status(), AuditStatus::Complete);
}

#[tokio::test]
async fn an_attempt_whose_holder_is_gone_is_followed_by_one_that_another_takes() {
    let mesh = mesh().await;
    let agent = Agent::start_with(&mesh.owner(), StartRunRequest { lease_ttl_ms: 5_000, ..tried(2) }).await;
    step(&agent, 1).await;
    let view = until_ok(Duration::from_secs(60), || async {
        let view = agent.view().await.map_err(|s| s.to_string())?;
        if view.attempts.len() == 2 { Ok(view) } else { Err(format!("{:?}", view.attempts)) }
    })
    .await;
    let first = &view.attempts[0];
    assert_eq!(
        (first.status(), first.termination_reason()),
        (RunStatus::Retry, TerminationReason::SystemFailure)
    );
    assert_eq!((first.error_code.as_str(), view.attempts[1].reason.as_str()), ("STALE_RUN", "STALE_RUN"));
    let next = claim(&agent, 2).await;
    step(&next, 2).await;
    let end = CompleteRunRequest { attempt: 2, ..next.end(StepOutcome::Success) };
    let ended = next.client.runs().complete_run(end).await.expect("the end").into_inner().run.unwrap();
    assert_eq!(ended.status(), RunStatus::Succeeded);
}

/// A run with one step, begun while the mesh has just come back: what was not answered in time is asked again.
async fn begin(client: &Client, request: StartRunRequest) -> Agent {
    let patience = Duration::from_secs(60);
    let started = until_ok(patience, || async { client.runs().start_run(request.clone()).await }).await;
    let started = started.into_inner();
    let fence = started.lease.as_ref().expect("a lease").fence;
    let agent = Agent { client: client.clone(), run_id: request.run_id.clone(), fence, started };
    let answer = until_ok(patience, || async { agent.authorize(agent.ask(0, "search")).await }).await;
    until_ok(patience, || async { agent.record(agent.report(&answer)).await }).await;
    agent
}

/// Kills between the parts of the saga: wherever it stops, one attempt is made and nothing else ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_anywhere_in_the_saga_leaves_one_next_attempt() {
    const RUNS: u64 = 12;
    let mut mesh = mesh().await;
    let owner = mesh.owner();
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let agent = begin(&owner, tried(2)).await;
        let request = CompleteRunRequest {
            error_class: ErrorClass::Transient.into(),
            ..agent.end(StepOutcome::Failure)
        };
        let mut client = agent.client.runs();
        let ending = tokio::spawn(async move { client.complete_run(request).await });
        // From before the intent to after the answer.
        tokio::time::sleep(Duration::from_millis(8 * number)).await;
        mesh.kill("runspine");
        let _ = ending.await;
        mesh.restart("runspine").await;
        runs.push(agent);
    }
    for agent in runs {
        // A kill before the intent leaves it to the agent, or to the lease: the agent comes back.
        let again = CompleteRunRequest {
            error_class: ErrorClass::Transient.into(),
            ..agent.end(StepOutcome::Failure)
        };
        until_ok(Duration::from_secs(60), || async {
            match agent.client.runs().complete_run(again.clone()).await {
                Ok(_) => Ok(()),
                // While nobody looked its lease lapsed: the attempt ended, and is followed, all the same.
                Err(status) if refusal(&status).1 == "COMPLETION_EXISTS" => Ok(()),
                Err(status) => Err(status.to_string()),
            }
        })
        .await;
        let view = until_ok(Duration::from_secs(90), || async {
            let view = agent.view().await.map_err(|s| s.to_string())?;
            let waits =
                view.attempts.last().is_some_and(|a| a.attempt == 2 && a.phase() == RunPhase::Authorized);
            if waits { Ok(view) } else { Err(format!("{:?}", view.attempts)) }
        })
        .await;
        let stands: Vec<_> = view.attempts.iter().map(|a| (a.attempt, a.status())).collect();
        assert_eq!(stands, [(1, RunStatus::Retry), (2, RunStatus::Queued)]);
        let next = claim(&agent, 2).await;
        let end = CompleteRunRequest { attempt: 2, ..next.end(StepOutcome::Success) };
        let ended = next.client.runs().complete_run(end).await.expect("the end").into_inner().run.unwrap();
        assert_eq!(ended.status(), RunStatus::Succeeded);
    }
}
