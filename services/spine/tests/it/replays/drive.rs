//! Mode DRIVE: the steps run again as a run of their own.

use std::time::Duration;

use contracts_common::common::v1::{RunPhase, RunSource, StepOutcome, TerminationReason, Verdict as Decided};
use contracts_spine::v1::{
    self as pb, ReplayLevel as Level, ReplayMatch as Match, ReplayMode as Mode, ReplayResult as Found,
    ReplayState as State, ReplayVerdict as Verdict,
};
use runspine_testkit::{eventually, until_ok};

use super::world::*;

fn drive(run_id: &str, level: Level) -> pb::StartReplayRequest {
    pb::StartReplayRequest { mode: Mode::Drive.into(), ..order(run_id, level) }
}

/// A replay that drives, its run and the fence of its lease.
async fn driving(world: &World, request: pb::StartReplayRequest) -> (String, String, u64) {
    let begun = world.start(request).await;
    let run = begun.run.expect("a run of its own");
    let replay = begun.replay.unwrap();
    let run_id = run.run.unwrap().run_id;
    assert_eq!((replay.mode(), &replay.driven_run_id), (Mode::Drive, &run_id));
    (replay.replay_id, run_id, run.lease.expect("a lease").fence)
}

fn asks(replay_id: &str, fence: u64, ask: pb::AuthorizeStepRequest) -> pb::ReplayStepsRequest {
    let ask = Some(pb::AuthorizeStepRequest { fence, ..ask });
    pb::ReplayStepsRequest { replay_id: replay_id.to_owned(), ask, ..Default::default() }
}

fn did(
    replay_id: &str,
    fence: u64,
    step: pb::ReplayedStep,
    record: pb::RecordStepRequest,
) -> pb::ReplayStepsRequest {
    let record = Some(pb::RecordStepRequest { fence, ..record });
    pb::ReplayStepsRequest { record, ..report(replay_id, step) }
}

/// The decision on a step of the run.
async fn decided(
    world: &World,
    (replay_id, fence): (&str, u64),
    ask: pb::AuthorizeStepRequest,
) -> pb::Decision {
    let answer = world.steps(vec![asks(replay_id, fence, ask)]).await.remove(0);
    answer.authorized.unwrap().decision.unwrap()
}

/// A10.6: it is a run like every other, decided, recorded, charged and completed; the original has no part in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_steps_run_again_as_a_run_of_their_own() {
    let world = World::open().await;
    let original = world.recorded(&[1, 2]).await;
    let (records, used) = (world.records(&original).await, world.used(&original).await);
    let skips = pb::ReplayRule {
        step_index: Some(1),
        behaviour: pb::ReplayBehaviour::Skip.into(),
        ..Default::default()
    };
    let request = pb::StartReplayRequest { rules: vec![skips], ..drive(&original, Level::Logical) };
    let (id, run_id, fence) = driving(&world, request.clone()).await;
    assert_eq!(driving(&world, request).await, (id.clone(), run_id.clone(), fence), "a repeat goes on");
    let run = world.get_run(&run_id).await;
    assert_eq!(
        (run.source(), run.project_id.as_str(), run.agent_id.as_str()),
        (RunSource::Replay, "shop", "agent")
    );
    assert_ne!(run_id, original);

    let decision = decided(&world, (&id, fence), ask_of(0, "search")).await;
    assert_eq!(decision.effective_verdict(), Decided::Allow);
    let record = record_of(0, 77, decision.decision_id);
    let answer = world.steps(vec![did(&id, fence, step_of(0, "search", 99), record)]).await.remove(0);
    assert_eq!(
        (answer.verdict(), answer.r#match()),
        (Verdict::Match, Match::Logical),
        "decided as it was then"
    );
    assert_eq!(answer.recorded.unwrap().charged_microusd, COST);

    let decision = decided(&world, (&id, fence), ask_of(1, "search")).await;
    let done = record_of(1, 2, decision.decision_id.clone());
    let executed = vec![did(&id, fence, step_of(1, "search", 2), done)];
    assert_eq!(reason(world.try_steps(executed).await), "FIELD_INVALID", "the plan leaves the step out");
    let skipped = pb::RecordStepRequest {
        step_index: 1,
        decision_id: decision.decision_id,
        outcome: StepOutcome::Skipped.into(),
        ..Default::default()
    };
    let answer = world.steps(vec![did(&id, fence, step_of(1, "search", 2), skipped)]).await.remove(0);
    assert_eq!(answer.verdict(), Verdict::UnknownStep, "its output was never stored");

    let finish = world.finish(&id, Some(ended(fence))).await;
    let (replay, completed) = (finish.replay.unwrap(), finish.run.unwrap());
    assert_eq!((replay.result(), replay.driven_run_id.as_str()), (Found::Incomplete, run_id.as_str()));
    assert_eq!(completed.run.unwrap().run_id, run_id);
    until_ok(Duration::from_secs(60), || async {
        let run = world.get_run(&run_id).await;
        if run.phase() == RunPhase::Completed { Ok(()) } else { Err(run.phase()) }
    })
    .await;
    assert!(world.used(&run_id).await.iter().any(|(_, used)| *used == COST));
    assert_eq!(world.used(&original).await, used, "the original paid nothing");
    assert_eq!(world.records(&original).await, records);
    assert_eq!(world.records(&run_id).await.len(), 5, "three decisions and two steps");
    let late = asks(&id, fence, ask_of(2, "search"));
    assert_eq!(reason(world.try_steps(vec![late]).await), "REPLAY_CLOSED");
}

/// The rules of now decide about the steps of now, and a stream that says too much is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_now_decide() {
    let world = World::open().await;
    let original = world.recorded(&[1]).await;
    let forbids = "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"search\");";
    world.rule("no-search", forbids).await;
    let (id, run_id, fence) = driving(&world, drive(&original, Level::Logical)).await;
    let decision = decided(&world, (&id, fence), ask_of(0, "search")).await;
    assert_eq!(decision.effective_verdict(), Decided::Deny);
    let skipped = pb::RecordStepRequest {
        step_index: 0,
        decision_id: decision.decision_id,
        outcome: StepOutcome::Skipped.into(),
        ..Default::default()
    };
    let step = pb::ReplayedStep { outcome: StepOutcome::Skipped.into(), ..step_of(0, "search", 0) };
    let answer = world.steps(vec![did(&id, fence, step, skipped)]).await.remove(0);
    assert_eq!(answer.verdict(), Verdict::Mismatch);
    assert_eq!(answer.reasons, ["OUTCOME", "CODE", "OUTPUT", "DECISION"]);

    let both = pb::ReplayStepsRequest {
        step: Some(step_of(0, "search", 1)),
        ..asks(&id, fence, ask_of(0, "search"))
    };
    assert_eq!(
        reason(world.try_steps(vec![both]).await),
        "FIELD_INVALID",
        "a step is asked about before it is done"
    );
    let stranger = pb::AuthorizeStepRequest { run_id: original, ..ask_of(1, "search") };
    assert_eq!(reason(world.try_steps(vec![asks(&id, fence, stranger)]).await), "FIELD_INVALID");
    let finish =
        pb::FinishReplayRequest { request_id: runspine_types::new_id(), replay_id: id.clone(), run: None };
    let operation = "spine.v1.ReplayCoordinatorService/FinishReplay";
    assert_eq!(reason(world.once::<_, pb::FinishReplayResponse>(operation, finish).await), "FIELD_INVALID");
    assert_eq!(world.finish(&id, Some(ended(fence))).await.replay.unwrap().result(), Found::Diverged);
    // Denials are counted behind the decision.
    eventually(Duration::from_secs(30), || async { world.get_run(&run_id).await.denied_steps >= 1 }).await;
}

/// Whoever may replay may not by that execute; whoever is denied the run has no replay left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driven_replay_needs_a_run_that_may_start() {
    let world = World::open().await;
    let original = world.recorded(&[1]).await;
    let refused = world.start_as(&["AUDITOR"], drive(&original, Level::Strict)).await;
    assert_eq!(reason(refused), "PERMISSION_MISSING");
    let observed = world.start_as(&["AUDITOR"], order(&original, Level::Strict)).await;
    assert_eq!(reason(observed), "TRACE_NOT_FOUND", "it is another tenant's");
    world.rule("no-starts", "forbid(principal, action == Runspine::Action::\"start_run\", resource);").await;
    let denied = world.start(drive(&original, Level::Strict)).await;
    assert_eq!(denied.run.unwrap().outcome(), pb::StartOutcome::Denied);
    let replay = denied.replay.unwrap();
    assert_eq!((replay.state(), replay.result()), (State::Finished, Found::Incomplete));
}

/// A client that is gone leaves a replay that is INCOMPLETE and a run that the reconciler ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_client_leaves_nothing_open() {
    let world = World::open().await;
    let original = world.recorded(&[1]).await;
    let request = pb::StartReplayRequest { timeout_ms: 5_000, ..drive(&original, Level::Strict) };
    let (id, run_id, _) = driving(&world, request).await;
    let replay = until_ok(Duration::from_secs(120), || async {
        let replay = world.get(&id).await.replay.unwrap();
        if replay.state() == State::Finished { Ok(replay) } else { Err(replay.state()) }
    })
    .await;
    assert_eq!((replay.result(), replay.timed_out), (Found::Incomplete, true));
    let run = until_ok(Duration::from_secs(120), || async {
        let run = world.get_run(&run_id).await;
        if run.completed_at.is_some() { Ok(run) } else { Err(run.phase()) }
    })
    .await;
    assert_eq!(run.phase(), RunPhase::Failed);
    let ended = run.termination_reason();
    assert!(matches!(ended, TerminationReason::Timeout | TerminationReason::SystemFailure), "{ended:?}");
}
