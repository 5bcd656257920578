//! Many callers at once.

use contracts_controls::v1 as pb;
use futures::future::join_all;
use runspine_testkit::{TestStore, on_both_engines};

use crate::harness::{House, daily, insist, settled, step};

on_both_engines! {
    /// 256 callers that reserve 1 of an envelope of 1,000 get exactly 1,000 holds; use after the settles is 1,000, no hold
    /// is left, and the sums are equal.
    async fn a_thousand_holds_and_not_one_more(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 1_000)).await;
        let house = &house;
        join_all((0..256).map(|number| insist(move || house.admit(number)))).await;
        let callers = (0..256_u64).map(|number| {
            async move {
                let mut held = Vec::new();
                for index in 0..5 {
                    let answer = insist(|| house.step(step(number, index, 1))).await;
                    if answer.hold.is_some() {
                        held.push(index);
                    }
                }
                held
            }
        });
        let held: Vec<Vec<u32>> = join_all(callers).await;
        assert_eq!(held.iter().map(Vec::len).sum::<usize>(), 1_000);
        let envelope = house.envelope(&limit.limit_id).await;
        assert_eq!((envelope.held, envelope.state), (1_000, pb::EnvelopeState::Blocked as i32));
        let settles = held.iter().zip(0..).flat_map(|(steps, number)| {
            steps.iter().map(move |index| settled(number, *index, 1))
        });
        for answer in join_all(settles.map(|message| insist(move || house.settle(message.clone())))).await {
            assert_eq!(answer.result, 1);
        }
        join_all((0..256).map(|number| insist(move || house.settle_run(number, 1)))).await;
        let envelope = house.envelope(&limit.limit_id).await;
        let period = envelope.period.unwrap();
        assert_eq!((period.usage, period.settled, period.granted, envelope.held), (1_000, 1_000, 0, 0));
        let verified = house.verify(&envelope.envelope_id).await;
        assert_eq!(verified.differences, []);
    }

    /// Several steps and settles of one run in one group: each sees what the one before left.
    async fn steps_of_one_run_in_one_group(store: TestStore) {
        let house = House::over(store).await;
        let spec = pb::LimitSpec { unit: pb::LimitUnit::Steps as i32, scope: 10, period: 5, ..daily("steps", 10) };
        house.create(1, spec).await;
        house.admit(1).await.unwrap();
        let house = &house;
        let answers = join_all((0..30).map(|index| insist(move || house.step(step(1, index, 1))))).await;
        assert_eq!(answers.iter().filter(|a| a.hold.is_some()).count(), 10);
        let twice = join_all((0..10).map(|_| insist(|| house.step(step(1, 40, 1))))).await;
        let first = &twice[0];
        assert!(twice.iter().all(|a| a == first), "one question, one answer");
    }
}
