//! What a key stands for, and what each behaviour does with it.

use contracts_logs::v1::{
    self as pb, ReplayBehaviour as Does, ReplayKeyState as Key, ReplayLevel as Level,
    ReplayVerdict as Verdict,
};
use runspine_testkit::{TestStore, on_both_engines};

use super::harness::*;
use crate::{
    payloads::harness::{LOG_PROMPT, erase, erasing},
    traces::harness::House,
};

fn keyed(key: &str, input: &str) -> pb::ReplayedStep {
    pb::ReplayedStep { replay_key: key.into(), input: input.as_bytes().to_vec().into(), ..again(1) }
}

on_both_engines! {
    /// A10.1: each behaviour with a key that is new, that stands for the same input, and that stands for another.
    async fn each_behaviour_with_each_state_of_a_key(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let cases = [
            (Does::Execute, Verdict::Recorded),
            (Does::Skip, Verdict::Skipped),
            (Does::Check, Verdict::Match),
        ];
        for (n, (does, verdict)) in cases.into_iter().enumerate() {
            let id = n as u64 + 1;
            let rules = vec![rule(1, does)];
            let replay = begun(&house, pb::StartReplayRequest { rules, ..order(id, 1, Level::Strict) }).await;
            let key = format!("key-{n}");
            let expected = [
                ("a", verdict, Key::New),
                ("a", verdict, Key::Duplicate),
                ("b", Verdict::Conflict, Key::Conflict),
            ];
            for (input, verdict, state) in expected {
                let answer = one(&house, &replay, keyed(&key, input)).await;
                assert_eq!((answer.verdict(), answer.key_state()), (verdict, state), "{does:?} {input}");
                assert_eq!(!answer.output_ref.is_empty(), verdict == Verdict::Skipped, "the recorded output");
            }
            let noted = get(&house, 1, &replay).await.unwrap().checks;
            assert_eq!(noted.len(), 2, "both are kept, and a conflict is not noted");
            assert!(noted.iter().all(|check| check.step.as_ref().unwrap().input.is_empty()), "no text is");
        }
    }

    /// A10.4: a mismatch is one again however often it is sent, and no later SKIP serves it.
    async fn a_mismatch_never_becomes_the_truth(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let checks = begun(&house, order(1, 1, Level::Strict)).await;
        for _ in 0..3 {
            let answer = one(&house, &checks, otherwise(1, "something else")).await;
            assert_eq!((answer.verdict(), answer.reasons), (Verdict::Mismatch, vec!["OUTPUT".to_owned()]));
        }
        let rules = vec![rule(1, Does::Skip)];
        let skips = begun(&house, pb::StartReplayRequest { rules, ..order(2, 1, Level::Strict) }).await;
        let skipped = one(&house, &skips, pb::ReplayedStep { step_index: 1, ..Default::default() }).await;
        assert_eq!(skipped.verdict(), Verdict::Skipped);
        let served = crate::payloads::harness::get(&house, &skipped.output_ref).await.unwrap();
        assert_eq!(served.content, OUTPUTS[1].as_bytes());
        assert_eq!(one(&house, &checks, again(1)).await.verdict(), Verdict::Match);
        let found = finish(&house, 1, &checks).await.unwrap();
        let totals = found.totals.unwrap();
        assert_eq!((totals.checked, totals.matched, totals.mismatched), (1, 0, 1), "once found, it counts");
    }

    /// A10.5: of many that take one key at once, one is the first.
    async fn one_of_many_executors_takes_a_key(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let mut replays = Vec::new();
        for id in 1..=8 {
            replays.push(begun(&house, order(id, 1, Level::Strict)).await);
        }
        let all = replays.iter().enumerate().map(|(n, replay)| {
            let input = if n % 2 == 0 { "a" } else { "b" };
            one(&house, replay, keyed("the-key", input))
        });
        let states: Vec<Key> = futures::future::join_all(all).await.iter().map(|a| a.key_state()).collect();
        let count = |state| states.iter().filter(|found| **found == state).count();
        assert_eq!((count(Key::New), count(Key::Duplicate), count(Key::Conflict)), (1, 3, 4), "{states:?}");
    }

    /// A key is remembered for a day, and for 300 seconds when its step failed.
    async fn a_key_is_forgotten_in_time(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let state = |id: u64, key: &'static str, input: &'static str, output: &'static str| {
            let house = &house;
            async move {
                let replay = begun(house, order(id, 1, Level::Strict)).await;
                let step = pb::ReplayedStep { output: output.as_bytes().into(), ..keyed(key, input) };
                one(house, &replay, step).await.key_state()
            }
        };
        assert_eq!(state(1, "good", "a", OUTPUTS[1]).await, Key::New);
        assert_eq!(state(2, "bad", "a", "wrong").await, Key::New);
        house.advance(299_999);
        assert_eq!(state(3, "bad", "b", "wrong").await, Key::Conflict);
        house.advance(1);
        assert_eq!(state(4, "bad", "b", "wrong").await, Key::New);
        house.advance(24 * 60 * 60 * 1_000 - 300_001);
        assert_eq!(state(5, "good", "b", OUTPUTS[1]).await, Key::Conflict);
        house.advance(1);
        assert_eq!(state(6, "good", "b", OUTPUTS[1]).await, Key::New);
    }

    /// What is not there can't be served or compared.
    async fn a_step_without_its_text_is_unknown(store: TestStore) {
        let house = House::over(store).await;
        recorded_with(&house, 1, LOG_PROMPT).await;
        let rules = vec![rule(1, Does::Skip)];
        let replay = begun(&house, pb::StartReplayRequest { rules, ..order(1, 1, Level::Strict) }).await;
        let answer = one(&house, &replay, pb::ReplayedStep { step_index: 1, ..Default::default() }).await;
        assert_eq!((answer.verdict(), answer.reasons), (Verdict::UnknownStep, vec!["NOT_STORED".to_owned()]));
        recorded(&house, 2).await;
        let replay = begun(&house, order(2, 2, Level::Strict)).await;
        assert_eq!(one(&house, &replay, again(1)).await.verdict(), Verdict::Match);
        let gone = pb::ErasePayloadsRequest { run_id: runspine_testkit::run(2), ..erasing(1) };
        erase(&house, gone).await.unwrap();
        let answer = one(&house, &replay, again(1)).await;
        assert_eq!((answer.verdict(), answer.reasons), (Verdict::UnknownStep, vec!["ERASED".to_owned()]));
        let beyond = one(&house, &replay, pb::ReplayedStep { step_index: 7, ..again(1) }).await;
        assert_eq!((beyond.verdict(), beyond.reasons), (Verdict::UnknownStep, vec!["INDEX".to_owned()]));
    }
}
