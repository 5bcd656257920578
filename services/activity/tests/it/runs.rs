//! Runs, attempts and moves.

use contracts_activity::v1 as pb;
use contracts_common::common::v1::{RunEvent as E, RunPhase as P, RunStatus as S, TerminationReason as R};
use runspine_activity_domain::reasons;
use runspine_errors::mesh;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, attributes, claim, failure, mv, new_run, refused, success},
};

on_both_engines! {
    /// Made once: a repeat gets the same bytes, the same start decided otherwise is RUN_EXISTS, another is a mismatch.
    async fn a_run_is_made_once(store: TestStore) {
        let house = House::over(store).await;
        let first = house.create(1).await;
        house.go(1, 1, E::Authorize, P::Authorized, S::Queued).await.unwrap();
        house.after_ms(5_000);
        assert_eq!(house.create(1).await, first);
        assert_eq!(first.run.as_ref().unwrap().attributes.as_ref().unwrap().labels.len(), 2);
        assert_eq!(first.transition.as_ref().unwrap().sequence, 1);
        let other = pb::CreateRunRequest { status: S::PendingApproval as i32, ..new_run(1) };
        refused(call!(house, store.create_run, "CreateRun", other), &reasons::RUN_EXISTS);
        let digest = pb::RunAttributes { request_digest: vec![9; 32].into(), ..attributes() };
        let other = pb::CreateRunRequest { attributes: Some(digest), ..new_run(1) };
        refused(call!(house, store.create_run, "CreateRun", other), &mesh::IDEMPOTENCY_MISMATCH);
    }

    /// The whole life, with every transition, its event, and the state a step reads.
    async fn a_run_lives_and_ends(store: TestStore) {
        let house = House::over(store).await;
        let started = house.start(1).await;
        let lease = started.lease.unwrap();
        assert_eq!((lease.fence, lease.holder.as_str()), (1, "w"));
        let state = house.state(1).await;
        assert_eq!((state.phase, state.status, state.sequence), (P::Executing as i32, S::Running as i32, 3));
        assert_eq!(state.lease.unwrap(), lease);
        assert_eq!(state.attributes.unwrap().max_inflight, 16);
        assert!(state.run_deadline.is_some() && state.start_input.is_empty());
        house.after_ms(1_500);
        let finished = house.complete(1).await;
        let done = finished.run.clone().unwrap();
        assert_eq!((done.state, done.status, done.duration_ms), (2, S::Succeeded as i32, 1_500));
        house.after_ms(5_000);
        assert_eq!(house.finish(success(1, 1)).await.unwrap(), finished);
        let other = pb::FinishRunRequest { error_code: "X".into(), ..success(1, 1) };
        refused(house.finish(other).await, &mesh::IDEMPOTENCY_MISMATCH);
        let view = house.view(1).await;
        assert!(view.lease.is_none());
        let sequences: Vec<u64> = view.transitions.iter().map(|t| t.sequence).collect();
        assert_eq!(sequences, [1, 2, 3, 4, 5, 6]);
        let kinds: Vec<String> = house.published().await.into_iter().map(|e| e.r#type).collect();
        assert_eq!(kinds.len(), 6, "one event per transition");
        assert_eq!(kinds[0], "activity.RunCreated");
        assert_eq!(kinds[5], "activity.RunFinished");
        refused(house.go(1, 6, E::End, P::GovernanceCheck, S::Running).await, &reasons::RUN_TERMINAL);
        let message = pb::GetRunStateRequest { run_id: run(1), attempt: 1, with_start_input: true };
        let state = call!(house, store.get_run_state, "GetRunState", message).unwrap().state.unwrap();
        assert_eq!(&state.start_input[..], b"input");
    }

    /// Two kernels race one transition: one wins, the other reads again; who asks for the very same gets the same.
    async fn racing_transitions_have_one_winner(store: TestStore) {
        let house = House::over(store).await;
        let replica = house.replica().await;
        let mut wins = 0;
        for number in 1..=20 {
            house.create(number).await;
            let one = mv(number, 1, 1, E::Authorize, P::Authorized, S::Queued);
            let two = pb::TransitionRunRequest { reason: "other".into(), ..one.clone() };
            let (a, b) = tokio::join!(house.transition(one.clone()), replica.transition(two.clone()));
            let (winner, again, loser) = match (a, b) {
                (Ok(won), lost) => (won, house.transition(one).await, lost),
                (lost, Ok(won)) => (won, house.transition(two).await, lost),
                neither => panic!("{neither:?}"),
            };
            refused(loser, &reasons::SEQUENCE_MOVED);
            assert_eq!(again.unwrap(), winner);
            wins += 1;
        }
        let (rows, highest): (i64, i64) =
            house.one("SELECT COUNT(*), MAX(sequence) FROM run_transitions").await;
        assert_eq!((wins, rows, highest), (20, 40, 2));
    }

    /// What is not in the table moves nothing, and says why.
    async fn illegal_moves_change_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.create(1).await;
        refused(house.go(1, 1, E::Claim, P::Executing, S::Running).await, &reasons::ILLEGAL_TRANSITION);
        refused(house.go(1, 1, E::Authorize, P::Authorized, S::Running).await, &reasons::PHASE_STATUS_MISMATCH);
        refused(house.go(1, 1, E::Refuse, P::Failed, S::Failed).await, &reasons::COMPLETION_EVIDENCE_REQUIRED);
        refused(house.go(1, 9, E::Authorize, P::Authorized, S::Queued).await, &reasons::SEQUENCE_MOVED);
        refused(house.go(2, 1, E::Authorize, P::Authorized, S::Queued).await, &reasons::RUN_NOT_FOUND);
        refused(house.transition(mv(1, 2, 1, E::Authorize, P::Authorized, S::Queued)).await, &reasons::ATTEMPT_NOT_FOUND);
        refused(house.finish(success(1, 1)).await, &reasons::ILLEGAL_TRANSITION);
        let naked = pb::FinishRunRequest { evaluation_id: String::new(), ..failure(1, 1, S::Failed, R::SystemFailure, E::Orphan) };
        refused(house.finish(naked).await, &reasons::COMPLETION_EVIDENCE_REQUIRED);
        assert_eq!(house.state(1).await.sequence, 1);
        house.finish(failure(1, 1, S::Cancelled, R::UserAbort, E::Cancel)).await.unwrap();
        assert_eq!(house.run(1).await.status, S::Cancelled as i32);
    }

    /// RETRY keeps the run live and makes room for exactly one next attempt, up to max_attempts.
    async fn attempts_follow_each_other(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let next = |attempt| pb::CreateAttemptRequest { run_id: run(1), attempt, reason: "STALE_RUN".into(), ..Default::default() };
        refused(call!(house, store.create_attempt, "CreateAttempt", next(2)), &reasons::ATTEMPT_NOT_RETRYABLE);
        for attempt in 1..=2 {
            if attempt == 2 {
                house.transition(mv(1, 2, 1, E::Authorize, P::Authorized, S::Queued)).await.unwrap();
                house.transition(claim(1, 2, 2)).await.unwrap();
            }
            house.transition(mv(1, attempt, 3, E::End, P::GovernanceCheck, S::Running)).await.unwrap();
            house.transition(mv(1, attempt, 4, E::Checked, P::Finalizing, S::Running)).await.unwrap();
            let end = failure(1, attempt, S::Retry, R::SystemFailure, E::Finish);
            let finished = house.finish(end).await.unwrap();
            assert_eq!(finished.run.unwrap().state, 1, "live until the next attempt ends");
            let made = call!(house, store.create_attempt, "CreateAttempt", next(attempt + 1)).unwrap();
            house.after_ms(10);
            assert_eq!(call!(house, store.create_attempt, "CreateAttempt", next(attempt + 1)).unwrap(), made);
            assert_eq!(house.state(1).await.attempt, attempt + 1);
        }
        house.transition(mv(1, 3, 1, E::Authorize, P::Authorized, S::Queued)).await.unwrap();
        house.transition(claim(1, 3, 2)).await.unwrap();
        house.transition(mv(1, 3, 3, E::End, P::GovernanceCheck, S::Running)).await.unwrap();
        house.transition(mv(1, 3, 4, E::Checked, P::Finalizing, S::Running)).await.unwrap();
        refused(house.finish(failure(1, 3, S::Retry, R::Timeout, E::Finish)).await, &reasons::ATTEMPTS_EXHAUSTED);
        let last = pb::FinishRunRequest { error_code: "RETRY_EXHAUSTED".into(), ..failure(1, 3, S::Failed, R::Timeout, E::Finish) };
        assert_eq!(house.finish(last).await.unwrap().run.unwrap().state, 2);
        assert_eq!(house.view(1).await.attempts.len(), 3);
    }

    /// Nobody sees another tenant's runs.
    async fn tenants_are_apart(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let message = pb::GetRunStateRequest { run_id: run(1), ..Default::default() };
        refused(call!(house, 2, store.get_run_state, "GetRunState", message), &reasons::RUN_NOT_FOUND);
        let message = pb::GetRunViewRequest { run_id: run(1) };
        refused(call!(house, 2, query.get_run_view, "GetRunView", message), &reasons::RUN_NOT_FOUND);
        let listed = call!(house, 2, query.list_runs, "ListRuns", pb::ListRunsRequest::default()).unwrap();
        assert_eq!((listed.runs.len(), listed.total_estimate), (0, 0));
        let counted = call!(house, 2, query.count_runs, "CountRuns", pb::CountRunsRequest::default()).unwrap();
        assert_eq!(counted.total, 0);
        let moved = mv(1, 1, 3, E::End, P::GovernanceCheck, S::Running);
        refused(call!(house, 2, store.transition_run, "TransitionRun", moved), &reasons::RUN_NOT_FOUND);
    }

    /// The first stop wins; NOW raises the fence at once; the run learns of it by its state.
    async fn the_first_stop_wins(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let stop = |code: &str, mode: pb::StopMode| pb::RequestStopRequest {
            run_id: run(1), attempt: 1, reason: R::UserAbort as i32, code: code.into(), mode: mode as i32,
            causes: vec![R::Timeout as i32], ..Default::default()
        };
        let first = call!(house, store.request_stop, "RequestStop", stop("CANCELLED", pb::StopMode::Now)).unwrap();
        assert!(!first.existing && first.stop.as_ref().unwrap().fence == 2);
        house.after_ms(1);
        let again = call!(house, store.request_stop, "RequestStop", stop("CANCELLED", pb::StopMode::Now)).unwrap();
        assert_eq!(again, first);
        let second = call!(house, store.request_stop, "RequestStop", stop("FROZEN", pb::StopMode::Drain)).unwrap();
        assert!(second.existing);
        assert_eq!(second.stop, first.stop);
        assert_eq!(house.state(1).await.stop, first.stop);
        refused(house.renew(1, 1, 1).await, &reasons::STALE_FENCE);
        let none = pb::RequestStopRequest { code: String::new(), ..stop("", pb::StopMode::Now) };
        refused(call!(house, store.request_stop, "RequestStop", none), &reasons::REASON_REQUIRED);
    }

    /// Answers of the kernel are kept once.
    async fn answers_are_kept_once(store: TestStore) {
        let house = House::over(store).await;
        let keep = |answer: &[u8], digest: u8| pb::KeepAnswerRequest {
            run_id: run(1), operation: "op".into(), key: "k".into(),
            request_digest: vec![digest; 32].into(), answer: answer.to_vec().into(),
        };
        let first = call!(house, store.keep_answer, "KeepAnswer", keep(b"one", 1)).unwrap();
        assert!(!first.existing);
        assert_eq!(call!(house, store.keep_answer, "KeepAnswer", keep(b"one", 1)).unwrap(), first);
        let second = call!(house, store.keep_answer, "KeepAnswer", keep(b"two", 1)).unwrap();
        assert_eq!((&second.answer[..], second.existing), (&b"one"[..], true));
        refused(call!(house, store.keep_answer, "KeepAnswer", keep(b"one", 2)), &mesh::IDEMPOTENCY_MISMATCH);
        let get = |key: &str| pb::GetAnswerRequest { run_id: run(1), operation: "op".into(), key: key.into() };
        assert_eq!(&call!(house, store.get_answer, "GetAnswer", get("k")).unwrap().answer[..], b"one");
        assert!(!call!(house, store.get_answer, "GetAnswer", get("other")).unwrap().found);
    }

    /// A run that states no length is expected to take as long as 95 % of the agent's successful ones.
    async fn the_usual_length_is_the_95th_percentile(store: TestStore) {
        let house = House::over(store).await;
        for number in 1..=20 {
            house.start(number).await;
            house.after_ms(number * 1_000);
            house.complete(number).await;
            let expected: (i64,) = house.one(&format!("SELECT expected_ms FROM runs WHERE run_id = '{}'", run(number))).await;
            assert_eq!(expected.0, 60_000, "too few before it");
        }
        house.create(21).await;
        let stated = pb::RunAttributes { expected_latency_ms: 77, ..attributes() };
        let stated = pb::CreateRunRequest { attributes: Some(stated), ..new_run(22) };
        call!(house, store.create_run, "CreateRun", stated).unwrap();
        for (number, expected) in [(21, 19_000), (22, 77)] {
            let found: (i64,) = house.one(&format!("SELECT expected_ms FROM runs WHERE run_id = '{}'", run(number))).await;
            assert_eq!(found.0, expected);
        }
    }
}
