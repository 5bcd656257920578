//! What a step may use where nobody says it: what steps like it have used.

use contracts_common::common::v1::Amounts;
use contracts_controls::v1::{self as pb, EstimateSource};
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, daily, insist, settled, step},
};

impl House {
    /// One step from ask to end; what it was estimated at, and from what.
    async fn lived(&self, index: u32, resource: &str, used: Amounts) -> (Amounts, EstimateSource) {
        let ask = pb::AdmitStepRequest {
            resource: resource.into(),
            estimate: Some(Amounts { cost_microusd: 7, ..Amounts::default() }),
            ..step(1, index, 0)
        };
        let hold = self.step(ask).await.unwrap().hold.unwrap();
        let end = pb::SettleRequest {
            actual: Some(used),
            kind: 1,
            resource: resource.into(),
            ..settled(1, index, 0)
        };
        let done = self.settle(end.clone()).await.unwrap();
        assert_eq!(self.settle(end).await.unwrap(), done, "a repeat changes nothing, and teaches nothing");
        (hold.amounts.unwrap(), hold.estimate_source())
    }
}

fn used(number: i64) -> Amounts {
    Amounts { cost_microusd: number, tokens_input: 10 * number, tokens_output: 0, duration_ms: 2 * number }
}

on_both_engines! {
    /// Section 4.4: with 20 recorded steps of the same agent, kind and resource what is missing is their 90th percentile.
    async fn the_twenty_first_step_knows_the_twenty_before(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 1_000_000)).await;
        house.admit(1).await.unwrap();
        for number in 1..=20_u32 {
            let (amounts, source) = house.lived(number, "model", used(number.into())).await;
            assert_eq!((amounts.tokens_input, amounts.duration_ms, source), (2_048, 1_000, EstimateSource::Default));
        }
        let (amounts, source) = house.lived(21, "model", used(21)).await;
        let expected = Amounts { cost_microusd: 7, tokens_input: 180, tokens_output: 0, duration_ms: 36 };
        assert_eq!((amounts, source), (expected, EstimateSource::History), "the stated cost stays");
        let (_, source) = house.lived(22, "another", used(1)).await;
        assert_eq!(source, EstimateSource::Default, "of another resource nothing is known");
        let stated = pb::AdmitStepRequest {
            estimate: Some(Amounts { cost_microusd: 1, tokens_input: 1, tokens_output: 1, duration_ms: 1 }), ..step(1, 23, 0)
        };
        assert_eq!(house.step(stated).await.unwrap().hold.unwrap().estimate_source(), EstimateSource::Client);

        // It is written behind, and every other process reads it.
        assert_eq!(house.app.write_histories().await.unwrap(), 2);
        assert_eq!(house.app.write_histories().await.unwrap(), 0, "only what is new");
        let (admissions, _) = house.replica().await;
        let ask = || {
            let request = house.ask("AdmissionService/AdmitStep", step(1, 24, 7));
            let mut other = admissions.clone();
            async move { other.admit_step(request).await }
        };
        let hold = insist(ask).await.into_inner().hold.unwrap();
        let expected = Amounts { cost_microusd: 7, tokens_input: 190, tokens_output: 0, duration_ms: 38 };
        assert_eq!((hold.amounts, hold.estimate_source()), (Some(expected), EstimateSource::History), "the 19th of 21");
        // What nobody has done for a month is forgotten.
        house.clock.advance(std::time::Duration::from_secs(31 * 86_400));
        house.admit(2).await.unwrap();
        let late = pb::SettleRequest { kind: 1, resource: "third".into(), ..settled(2, 0, 1) };
        house.settle(late).await.unwrap();
        assert_eq!(house.app.write_histories().await.unwrap(), 1);
        let (rows,): (i64,) = house.one("SELECT COUNT(*) FROM step_histories").await;
        assert_eq!(rows, 1);
    }

    /// Reserve says itself where its amounts come from; what is filled in is less certain.
    async fn a_reserve_says_where_its_amounts_come_from(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 1_000_000)).await;
        house.admit(1).await.unwrap();
        let all = Amounts { cost_microusd: 1, tokens_input: 1, tokens_output: 1, duration_ms: 1 };
        let some = Amounts { cost_microusd: 1, ..Amounts::default() };
        let rows = [
            (all, EstimateSource::Unspecified, EstimateSource::Client),
            (all, EstimateSource::History, EstimateSource::History),
            (all, EstimateSource::Default, EstimateSource::Default),
            (some, EstimateSource::History, EstimateSource::Default),
        ];
        for (step_index, (amounts, stated, expected)) in (0..).zip(rows) {
            let message = pb::ReserveRequest {
                run_id: run(1), attempt: 1, step_index, fence: 1, kind: 1, amounts: Some(amounts), profile: 2,
                estimate_source: stated.into(), ..Default::default()
            };
            let held = call!(house, budgets.reserve, "BudgetService/Reserve", message).unwrap().hold.unwrap();
            assert_eq!(held.estimate_source(), expected, "{stated:?}");
        }
    }
}
