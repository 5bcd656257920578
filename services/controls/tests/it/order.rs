//! A1.1: of everything that stands in the way of a step the earliest check is named first, and a refusal takes nothing.

use contracts_common::common::v1::{Lease, Totals};
use contracts_controls::v1 as pb;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};

use crate::{
    call,
    harness::{House, daily, plain, step, verdict},
};

/// The checks in the order of the table.
const ORDER: [&str; 6] =
    ["FROZEN", "LEASE_LAPSED", "BREAKER_OPEN", "RATE_LIMITED", "THRESHOLD_EXCEEDED", "BUDGET_EXCEEDED"];

/// Every number that an admission could move: escrow, holds, entries, buckets and slots.
const NUMBERS: [&str; 5] = [
    "SELECT CAST(COALESCE(SUM(granted), 0) AS BIGINT), CAST(COALESCE(SUM(settled + unfunded + debt), 0) AS BIGINT) \
     FROM envelope_periods",
    "SELECT CAST(COALESCE(SUM(granted + spent + used), 0) AS BIGINT), CAST(COALESCE(SUM(held), 0) AS BIGINT) \
     FROM allocations",
    "SELECT COUNT(*), CAST(COALESCE(SUM(cost_microusd), 0) AS BIGINT) FROM holds",
    "SELECT (SELECT COUNT(*) FROM budget_entries), (SELECT COUNT(*) FROM slots)",
    "SELECT COUNT(*), CAST(COALESCE(SUM(level), 0) AS BIGINT) FROM buckets",
];

/// What stands in the way is chosen by each step.
async fn prepared(house: &House) {
    let rate = pb::LimitSpec {
        scope: pb::LimitScope::Provider.into(),
        scope_id: "slow".into(),
        window_s: 86_400,
        enforcement: pb::Enforcement::Block.into(),
        ..plain("rate", 2, pb::LimitUnit::Requests, 1)
    };
    let params = vec![pb::ThresholdValue { key: "max_steps".into(), value: 10 }];
    let bound = pb::LimitSpec {
        unit: 0,
        max_value: 0,
        params,
        enforcement: pb::Enforcement::Block.into(),
        ..plain("steps", 4, pb::LimitUnit::Steps, 0)
    };
    let slots = plain("slots", 3, pb::LimitUnit::Steps, 1_000);
    for (number, spec) in (1..).zip([daily("day", 10_000), rate, bound, slots]) {
        house.create(number, spec).await;
    }
    let open = pb::OpenBreakerRequest {
        request_id: test_id(7, 900),
        target_type: pb::BreakerTarget::Model.into(),
        target_id: "broken".into(),
        reason: "its answers can't be trusted".into(),
        ..Default::default()
    };
    call!(house, breakers.open_breaker, "BreakerService/OpenBreaker", open).unwrap();
    house.admit(99).await.unwrap();
    let drained =
        house.step(pb::AdmitStepRequest { provider: "slow".into(), ..step(99, 0, 1) }).await.unwrap();
    assert!(drained.hold.is_some());
}

/// A run for each set of obstacles, its lease short where it is to lapse.
async fn started(house: &House, set: u64) {
    let mut start = house.start(set);
    let ttl = if set & 2 == 0 { 600_000 } else { 1 };
    start.lease = Some(Lease { fence: 1, holder: "h".into(), expires_at: Some(timestamp(house.in_ms(ttl))) });
    call!(house, admissions.admit_run, "AdmissionService/AdmitRun", start).unwrap();
    if set & 1 == 1 {
        let freeze = pb::FreezeRequest {
            request_id: test_id(7, 1_000 + set),
            scope: pb::FreezeScope::Run.into(),
            scope_id: run(set),
            reason_code: 1,
            note: "something is wrong".into(),
            ..Default::default()
        };
        call!(house, freezes.freeze, "FreezeService/Freeze", freeze).unwrap();
    }
}

fn asked(set: u64) -> pb::AdmitStepRequest {
    let has = |bit: u64| set & (1 << bit) != 0;
    pb::AdmitStepRequest {
        model: if has(2) { "broken" } else { "sound" }.into(),
        provider: if has(3) { "slow" } else { "fast" }.into(),
        totals: Some(Totals { steps: if has(4) { 10 } else { 0 }, ..Totals::default() }),
        ..step(set, 0, if has(5) { 1_000_000 } else { 1 })
    }
}

async fn numbers(house: &House) -> Vec<(i64, i64)> {
    let mut all = Vec::new();
    for sql in NUMBERS {
        all.push(house.one::<(i64, i64)>(sql).await);
    }
    all
}

on_both_engines! {
    /// Every set of obstacles there is: the orders leave the findings unasked, and the findings are all named.
    async fn the_first_check_that_refuses_is_named_first(store: TestStore) {
        let house = House::over(store).await;
        prepared(&house).await;
        for set in 0..64 {
            started(&house, set).await;
        }
        house.clock.advance(std::time::Duration::from_millis(2));
        for set in 0..64 {
            let before = numbers(&house).await;
            let answer = house.step(asked(set)).await.unwrap();
            let (verdict, _, codes) = verdict(answer.admission.as_ref());
            let there = |range: std::ops::Range<usize>| -> Vec<&str> {
                range.filter(|bit| set & (1 << bit) != 0).map(|bit| ORDER[bit]).collect()
            };
            let orders = there(0..2);
            let expected = if orders.is_empty() { there(2..6) } else { orders };
            assert_eq!(codes, expected, "{set:06b}");
            let refused = !expected.is_empty();
            assert_eq!(verdict, if refused { 2 } else { 1 }, "{set:06b}");
            assert_eq!(answer.hold.is_none(), refused);
            assert_eq!(numbers(&house).await == before, refused, "{set:06b}: a refusal takes nothing");
        }
    }
}
