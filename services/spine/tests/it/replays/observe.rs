//! Mode OBSERVE: what was done elsewhere, judged by the rules of then.

use contracts_spine::v1::{
    self as pb, ComparisonResult, ReplayLevel as Level, ReplayMatch as Match, ReplayResult as Found,
    ReplayVerdict as Verdict,
};

use super::world::*;

/// A10.2: an identical run, one changed output, and a changed parameter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_finds_what_differs_first() {
    let world = World::open().await;
    let run_id = world.recorded(&[1, 2, 3]).await;
    let begun = world.start(order(&run_id, Level::Strict)).await;
    assert_eq!(begun.plan.len(), 3);
    assert!(begun.plan.iter().all(|planned| planned.decisions.len() == 1), "{:?}", begun.plan);
    assert!(begun.run.is_none());
    let id = begun.replay.unwrap().replay_id;
    let same = |index: u32| step_of(index, "search", u8::try_from(index + 1).unwrap());
    let answers = world.steps((0..3).map(|index| report(&id, same(index))).collect()).await;
    for answer in &answers {
        assert_eq!((answer.verdict(), answer.r#match()), (Verdict::Match, Match::Exact), "{answer:?}");
        assert_eq!(answer.behaviour(), pb::ReplayBehaviour::Check);
    }
    let found = world.finish(&id, None).await.replay.unwrap();
    assert_eq!((found.result(), found.behaviour()), (Found::Parity, ComparisonResult::Parity));
    assert_eq!(world.get(&id).await.replay.unwrap(), found);
    assert_eq!(reason(world.try_steps(vec![report(&id, same(0))]).await), "REPLAY_CLOSED");

    let id = world.begun(order(&run_id, Level::Strict)).await;
    let other = |index, step: pb::ReplayedStep| {
        (0..3).map(|at| report(&id, if at == index { step.clone() } else { same(at) })).collect::<Vec<_>>()
    };
    let answers = world.steps(other(1, step_of(1, "search", 99))).await;
    assert_eq!(
        (answers[1].verdict(), answers[1].reasons.as_slice()),
        (Verdict::Mismatch, &["OUTPUT".to_owned()][..])
    );
    let found = world.finish(&id, None).await.replay.unwrap();
    assert_eq!((found.result(), found.behaviour()), (Found::Diverged, ComparisonResult::Parity));
    assert!(!found.mismatch_id.is_empty());

    let id = world.begun(order(&run_id, Level::Strict)).await;
    let changed = pb::ReplayedStep { parameters_digest: vec![8; 32].into(), ..same(1) };
    let messages = (0..3).map(|at| report(&id, if at == 1 { changed.clone() } else { same(at) })).collect();
    world.steps(messages).await;
    let first = world.finish(&id, None).await.replay.unwrap().first_divergence.unwrap();
    assert_eq!((first.step_index, first.reasons), (1, vec!["PARAMETERS".to_owned()]));
}

/// LOGICAL asks the rules that were in force when the run was recorded, about what is done now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_then_decide() {
    let world = World::open().await;
    let forbids = |tool: &str| {
        format!(
            "forbid(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"{tool}\");"
        )
    };
    let rule = world.rule("no-deletion", &forbids("delete")).await;
    let run_id = world.recorded(&[1]).await;
    world.rule("no-search", &forbids("search")).await;
    let id = world.begun(order(&run_id, Level::Logical)).await;
    let answers = world.steps(vec![report(&id, step_of(0, "search", 99))]).await;
    assert_eq!(
        (answers[0].verdict(), answers[0].r#match()),
        (Verdict::Match, Match::Logical),
        "a later rule is nothing"
    );
    let asked = |tool: &str, step: pb::ReplayedStep| pb::ReplayStepsRequest {
        ask: Some(ask_of(0, tool)),
        ..report(&id, step)
    };
    let answers = world.steps(vec![asked("search", step_of(0, "search", 98))]).await;
    assert_eq!(answers[0].r#match(), Match::Logical, "the same question in full");
    let answers = world.steps(vec![asked("delete", step_of(0, "search", 97))]).await;
    assert_eq!(
        (answers[0].verdict(), answers[0].reasons.as_slice()),
        (Verdict::Mismatch, &["OUTPUT".to_owned(), "DECISION".to_owned()][..])
    );
    let answers = world.steps(vec![report(&id, step_of(0, "delete", 96))]).await;
    assert_eq!(answers[0].reasons, ["NAME", "OUTPUT", "DECISION"]);
    let kept = world.get(&id).await.checks.remove(0).step.unwrap().decisions;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].rule_ids, [rule], "what the mesh found is kept, with the rule");

    let claimed = pb::ReplayedStep { decisions: kept, ..step_of(0, "search", 99) };
    assert_eq!(reason(world.try_steps(vec![report(&id, claimed)]).await), "FIELD_INVALID");
    let record = pb::ReplayStepsRequest {
        record: Some(record_of(0, 1, String::new())),
        ..report(&id, step_of(0, "search", 1))
    };
    assert_eq!(
        reason(world.try_steps(vec![record]).await),
        "FIELD_INVALID",
        "nothing is recorded in mode OBSERVE"
    );
}

/// A10.6: no byte of the trace, the ledger's entries or the budget changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_original_is_never_written() {
    let world = World::open().await;
    let run_id = world.recorded(&[1, 2]).await;
    let (records, used) = (world.records(&run_id).await, world.used(&run_id).await);
    // Entries of the end of the run may still be on their way; those that are there stay as they are.
    let ledger = world.ledger(&run_id).await;
    assert!(records.len() >= 4 && !ledger.is_empty() && used.iter().any(|(_, used)| *used == 2 * COST));
    let id = world.begun(order(&run_id, Level::Logical)).await;
    world.steps(vec![report(&id, step_of(0, "search", 1)), report(&id, step_of(1, "other", 7))]).await;
    assert_eq!(world.finish(&id, None).await.replay.unwrap().result(), Found::Diverged);
    assert_eq!(world.records(&run_id).await, records);
    assert_eq!(world.used(&run_id).await, used);
    let after = world.ledger(&run_id).await;
    assert!(ledger.iter().all(|entry| after.contains(entry)), "an entry has changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_measure_is_refused() {
    let world = World::open().await;
    let start = "spine.v1.ReplayCoordinatorService/StartReplay";
    let (run_id, _) = world.run().await;
    let refused = async |request: pb::StartReplayRequest| {
        reason(world.once::<_, pb::StartReplayResponse>(start, request).await)
    };
    assert_eq!(refused(order(&run_id, Level::Strict)).await, "REPLAY_SOURCE_UNPROVEN");
    assert_eq!(refused(order(&runspine_types::new_id(), Level::Strict)).await, "TRACE_NOT_FOUND");
    let wrong = pb::StartReplayRequest {
        mode: 9,
        level: 9,
        timeout_ms: 1,
        requested: Some(contracts_common::common::v1::Amounts::default()),
        rules: vec![pb::ReplayRule { step_index: Some(1), kind: 2, behaviour: 0 }],
        ..order("x", Level::Strict)
    };
    let refused = world.once::<_, pb::StartReplayResponse>(start, wrong).await.unwrap_err();
    let fields: Vec<_> = runspine_rpc::details(&refused).fields.into_iter().map(|(field, _)| field).collect();
    for field in ["run_id", "mode", "timeout_ms", "requested", "rules[0].behaviour", "rules[0].kind"] {
        assert!(fields.iter().any(|found| found == field), "{field} in {fields:?}");
    }
    let get = pb::GetReplayRequest { replay_id: runspine_types::new_id(), ..Default::default() };
    let get =
        world.once::<_, pb::GetReplayResponse>("spine.v1.ReplayCoordinatorService/GetReplay", get).await;
    assert_eq!(reason(get), "REPLAY_NOT_FOUND");
    let list = pb::ListReplaysRequest { run_id, ..Default::default() };
    let none: pb::ListReplaysResponse =
        world.ask("spine.v1.ReplayCoordinatorService/ListReplays", list).await;
    assert!(none.replays.is_empty());
}
