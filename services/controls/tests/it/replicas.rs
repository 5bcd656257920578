//! Several processes on one store, and callers that never hear an answer.

use std::time::Duration;

use contracts_controls::v1 as pb;
use futures::future::join_all;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::harness::{House, daily, inner, insist, settled, step};

on_both_engines! {
    /// What one process has answered, another answers again, byte for byte.
    async fn another_process_gives_the_first_answer(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 10_000)).await;
        house.admit(1).await.unwrap();
        let allowed = house.step(step(1, 0, 10)).await.unwrap();
        let (admissions, budgets) = house.replica().await;
        let again = admissions.clone().admit_step(house.ask("AdmissionService/AdmitStep", step(1, 0, 10))).await;
        assert_eq!(inner(again).unwrap(), allowed);
        let done = budgets.clone().settle(house.ask("BudgetService/Settle", settled(1, 0, 7))).await;
        let done = inner(done).unwrap();
        assert_eq!(house.settle(settled(1, 0, 7)).await.unwrap(), done);
        let end = pb::SettleRunRequest { run_id: run(1), attempt: 1, outcome: 1, totals: None };
        let ended = budgets.clone().settle_run(house.ask("BudgetService/SettleRun", end)).await;
        let ended = inner(ended).unwrap().settlement.unwrap();
        assert_eq!(house.settle_run(1, 1).await.unwrap(), ended);
    }

    /// Callers that go away at any moment and ask again: one hold for each step, and nothing is lost.
    async fn lost_answers_change_nothing_more(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100_000)).await;
        house.admit(1).await.unwrap();
        for index in 0..40_u32 {
            let patience = Duration::from_micros(u64::from(index) * 40);
            let _ = tokio::time::timeout(patience, house.step(step(1, index, 10))).await;
            house.step(step(1, index, 10)).await.unwrap();
            let _ = tokio::time::timeout(patience, house.settle(settled(1, index, 9))).await;
            assert_eq!(house.settle(settled(1, index, 9)).await.unwrap().result, 1);
        }
        assert_eq!(house.one::<(i64,)>("SELECT COUNT(*) FROM holds").await.0, 40);
        let envelope = house.envelope(&limit.limit_id).await;
        assert_eq!((envelope.period.unwrap().usage, envelope.held), (360, 0));
        assert!(house.verify(&envelope.envelope_id).await.equal);
    }

    /// Two processes that take from one envelope until it is empty give exactly what is in it.
    async fn two_processes_share_one_envelope(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 300)).await;
        for number in 0..16 {
            house.admit(number).await.unwrap();
        }
        let (other, _) = house.replica().await;
        let callers = (0..16_u64).map(|number| {
            let (house, other) = (&house, &other);
            async move {
                let client = if number % 2 == 0 { &house.admissions } else { other };
                let mut held = 0;
                for index in 0..30 {
                    let ask = || async {
                        let request = house.ask("AdmissionService/AdmitStep", step(number, index, 1));
                        inner(client.clone().admit_step(request).await)
                    };
                    held += usize::from(insist(ask).await.hold.is_some());
                }
                held
            }
        });
        let held: usize = join_all(callers).await.into_iter().sum();
        assert_eq!(held, 300);
        let envelope = house.envelope(&limit.limit_id).await;
        assert_eq!(envelope.held, 300);
        assert_eq!(house.verify(&envelope.envelope_id).await.differences, []);
    }
}
