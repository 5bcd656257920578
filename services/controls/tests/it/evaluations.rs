//! How a run stands with its limits is told when it gets worse, and at its end.

use contracts_common::common::v1::Totals;
use contracts_controls::v1::{self as pb, LimitOutcome as Outcome, LimitType as Type};
use prost::Message as _;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, daily, plain, settled, step},
};

/// What was told of a run: step, whether it was the end, and of each limit its name, outcome, actual and proximity.
type Told = (Option<u32>, bool, Vec<(String, Outcome, i64, Option<u32>)>);

async fn evaluations(house: &House, number: u64) -> Vec<pb::LimitEvaluated> {
    let events = house.published().await;
    let mine =
        events.into_iter().filter(|e| e.r#type == "controls.LimitEvaluated" && e.run_id == run(number));
    mine.map(|e| pb::LimitEvaluated::decode(e.data).unwrap()).collect()
}

async fn told(house: &House, number: u64) -> Vec<Told> {
    let events = house.published().await;
    let mine =
        events.into_iter().filter(|e| e.r#type == "controls.LimitEvaluated" && e.run_id == run(number));
    mine.map(|event| {
        let data = pb::LimitEvaluated::decode(event.data).unwrap();
        let one =
            |e: &pb::LimitEvaluation| (e.limit_name.clone(), e.outcome(), e.actual, e.proximity_permille);
        (event.step_index, data.r#final, data.evaluations.iter().map(one).collect())
    })
    .collect()
}

fn bound(name: &str, key: &str, value: i64) -> pb::LimitSpec {
    let params = vec![pb::ThresholdValue { key: key.to_owned(), value }];
    pb::LimitSpec { unit: 0, max_value: 0, params, ..plain(name, 4, pb::LimitUnit::Steps, 0) }
}

fn steps(steps: i64) -> Option<Totals> {
    Some(Totals { steps, ..Totals::default() })
}

on_both_engines! {
    /// From 0 to 120 %: one NEAR_THRESHOLD, one BREACH, and where it stood at the end. A step that changes nothing tells
    /// nothing, and a run that nears nothing keeps nothing.
    async fn what_gets_worse_is_told_once(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, bound("steps", "max_steps", 20)).await;
        house.admit(1).await.unwrap();
        for index in 0..24_u32 {
            let message = pb::AdmitStepRequest { totals: steps(i64::from(index)), ..step(1, index, 0) };
            house.step(message).await.unwrap();
            let end = pb::SettleRequest { totals: steps(i64::from(index) + 1), ..settled(1, index, 0) };
            house.settle(end).await.unwrap();
        }
        let near = ("steps".to_owned(), Outcome::NearThreshold, 16, Some(800));
        let over = ("steps".to_owned(), Outcome::Breach, 20, Some(1_000));
        assert_eq!(told(&house, 1).await, [(Some(15), false, vec![near]), (Some(19), false, vec![over])]);
        let message = pb::SettleRunRequest { run_id: run(1), attempt: 1, outcome: 1, totals: steps(24) };
        call!(house, budgets.settle_run, "BudgetService/SettleRun", message).unwrap();
        let last = ("steps".to_owned(), Outcome::Breach, 24, Some(1_200));
        assert_eq!(told(&house, 1).await[2], (None, true, vec![last]));
        let said = evaluations(&house, 1).await.remove(2).evaluations.remove(0);
        assert_eq!((&said.limit_id, said.limit_version, said.blocking), (&limit.limit_id, 1, false));
        assert_eq!((said.r#type(), said.threshold_value, said.source), (Type::Steps, Some(20), 1));

        house.admit(2).await.unwrap();
        for index in 0..3 {
            house.step(pb::AdmitStepRequest { totals: steps(1), ..step(2, index, 0) }).await.unwrap();
            house.settle(settled(2, index, 0)).await.unwrap();
        }
        assert!(told(&house, 2).await.is_empty());
        let (kept,): (String,) = house.one("SELECT told FROM run_leases WHERE attempt = 1 ORDER BY run_key DESC LIMIT 1").await;
        assert_eq!(kept, "");
    }

    /// A budget, a rate and slots, each by its own numbers; the end tells of the budget once more, and once.
    async fn every_category_is_compared(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 1_000)).await;
        let rate = pb::LimitSpec { window_s: 60, enforcement: 5, ..plain("rate", 2, pb::LimitUnit::Requests, 5) };
        house.create(2, rate).await;
        house.create(3, pb::LimitSpec { enforcement: 5, ..plain("slots", 3, pb::LimitUnit::Steps, 1) }).await;
        house.admit(1).await.unwrap();
        for (index, cost) in (0..).zip([799, 1, 199, 1]) {
            house.step(step(1, index, cost)).await.unwrap();
            house.settle(settled(1, index, cost)).await.unwrap();
        }
        let refused = house.step(step(1, 4, 1)).await.unwrap();
        assert!(refused.hold.is_none());
        house.settle_run(1, 1).await.unwrap();
        house.settle_run(1, 1).await.unwrap();
        let all = told(&house, 1).await;
        let of = |name: &str| -> Vec<(Outcome, i64, Option<u32>)> {
            let before = all.iter().filter(|(_, last, _)| !last).flat_map(|(_, _, limits)| limits);
            before.filter(|l| l.0 == name).map(|l| (l.1, l.2, l.3)).collect()
        };
        assert_eq!(of("day"), [(Outcome::NearThreshold, 800, Some(800)), (Outcome::Breach, 1_000, Some(1_000))]);
        assert_eq!(of("rate"), [(Outcome::NearThreshold, 4, Some(800))], "the fifth was refused, and took nothing");
        assert_eq!(of("slots"), [(Outcome::Breach, 1, Some(1_000))]);
        let ends: Vec<_> = all.iter().filter(|(_, last, _)| *last).collect();
        let day = ("day".to_owned(), Outcome::Breach, 1_000, Some(1_000));
        assert_eq!(ends, [&(None, true, vec![day])]);
    }

    /// What an override covers is OVERRIDDEN.
    async fn an_override_covers_the_excess(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        crate::overrides::raised(&house, &limit, 200).await;
        house.admit(1).await.unwrap();
        for (index, cost) in (0..).zip([60, 60, 1]) {
            house.step(step(1, index, cost)).await.unwrap();
            house.settle(settled(1, index, cost)).await.unwrap();
        }
        house.settle_run(1, 1).await.unwrap();
        let said = told(&house, 1).await;
        assert_eq!(said[0].2, [("day".to_owned(), Outcome::Overridden, 120, Some(600))], "{said:?}");
        assert_eq!(said[1], (None, true, vec![("day".to_owned(), Outcome::Overridden, 121, Some(605))]));
    }

    /// A tenant's guardrails are compared like every other limit: a healthy run tells of them at its end only.
    async fn a_healthy_run_tells_at_its_end(store: TestStore) {
        let house = House::guarded(store, runspine_controls_domain::guardrail::Defaults::default()).await;
        house.admit(1).await.unwrap();
        for index in 0..3 {
            let totals = steps(i64::from(index) + 1);
            house.step(pb::AdmitStepRequest { totals, ..step(1, index, 10) }).await.unwrap();
            house.settle(pb::SettleRequest { totals, ..settled(1, index, 10) }).await.unwrap();
        }
        let message = pb::SettleRunRequest { run_id: run(1), attempt: 1, outcome: 1, totals: steps(3) };
        call!(house, budgets.settle_run, "BudgetService/SettleRun", message).unwrap();
        let all = told(&house, 1).await;
        assert_eq!(all.len(), 1);
        let mut names: Vec<(&str, Outcome)> = all[0].2.iter().map(|l| (l.0.as_str(), l.1)).collect();
        names.sort_unstable_by_key(|one| one.0);
        assert_eq!(names, [
            ("g.agent.day.cost", Outcome::Ok), ("g.agent.failures", Outcome::Advisory), ("g.run.cost", Outcome::Ok),
            ("g.run.loop", Outcome::Ok), ("g.run.tokens", Outcome::Ok), ("g.step.cost", Outcome::Ok),
            ("g.step.tokens", Outcome::Ok),
        ]);
    }
}
