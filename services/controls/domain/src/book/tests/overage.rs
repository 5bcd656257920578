//! The overage table, chunks and reclaim.

use super::{World, cost};
use crate::{
    book::Charged,
    limit::sample,
    words::{HoldState, Overage},
};

fn parts(charged: &[Charged]) -> (i64, i64, i64) {
    (charged[0].funded, charged[0].debt, charged[0].unfunded)
}

#[test]
fn each_policy_at_below_equal_above_and_far_above_the_hold() {
    use Overage::{AllowIfAvailable, AllowWithOverdraft, Reject};
    // An envelope of 100, a hold of 40: (policy, actual) -> funded, debt, unfunded.
    let rows = [
        (Reject, 30, (30, 0, 0)),
        (Reject, 40, (40, 0, 0)),
        (Reject, 41, (40, 0, 1)),
        (Reject, 500, (40, 0, 460)),
        (AllowIfAvailable, 30, (30, 0, 0)),
        (AllowIfAvailable, 40, (40, 0, 0)),
        (AllowIfAvailable, 41, (41, 0, 0)),
        (AllowIfAvailable, 500, (100, 0, 400)),
        (AllowWithOverdraft, 30, (30, 0, 0)),
        (AllowWithOverdraft, 41, (41, 0, 0)),
        (AllowWithOverdraft, 120, (100, 20, 0)),
        (AllowWithOverdraft, 500, (100, 50, 350)),
    ];
    for (overage, actual, expected) in rows {
        let mut limit = sample(1, 100);
        limit.spec.overage = overage;
        limit.spec.overdraft_limit = if overage == AllowWithOverdraft { 50 } else { 0 };
        let mut world = World::with(vec![limit]);
        let hold = world.reserve(1, cost(40)).unwrap();
        assert_eq!(parts(&world.settle(hold, cost(actual))), expected, "{overage:?} {actual}");
        assert_eq!(world.holds[hold].state, HoldState::Settled);
        let period = world.periods.values().next().unwrap();
        assert_eq!((period.debt, period.unfunded), (expected.1, expected.2), "{overage:?} {actual}");
        world.check();
        world.check_no_overshoot();
    }
}

#[test]
fn debt_stops_reserves_until_what_comes_back_has_paid_it() {
    let mut limit = sample(1, 100);
    limit.spec.overage = Overage::AllowWithOverdraft;
    limit.spec.overdraft_limit = 50;
    let mut world = World::with(vec![limit]);
    let (first, second) = (world.reserve(1, cost(40)).unwrap(), world.reserve(2, cost(40)).unwrap());
    assert_eq!(parts(&world.settle(first, cost(90))), (60, 30, 0));
    let refusals = world.reserve(3, cost(1)).unwrap_err();
    assert!(refusals[0].in_debt && refusals[0].reservable == 0);
    world.check();
    // 40 come back: 30 pay the debt, 10 can be reserved.
    let mut hold = world.holds[second].clone();
    world.commit(&[2], |book| {
        book.release(&mut hold, crate::words::ReleaseReason::Cancelled);
        Ok::<_, super::Missing>(())
    });
    world.holds[second] = hold;
    world.settle_run(2);
    assert_eq!(world.periods.values().next().unwrap().debt, 0);
    assert_eq!(world.reserve(3, cost(11)).unwrap_err()[0].reservable, 10);
    assert!(world.reserve(3, cost(10)).is_ok());
    world.check();
    world.check_no_overshoot();
}

#[test]
fn a_step_that_fits_its_chunk_writes_no_envelope_row() {
    let mut world = World::with(vec![sample(1, 100_000)]);
    let hold = world.reserve(1, cost(100)).unwrap();
    assert_eq!(
        world.allocations.values().next().unwrap().granted,
        5_000,
        "50 per mille of what is available"
    );
    let writes = world.period_writes;
    world.settle(hold, cost(90));
    for _ in 0..48 {
        let hold = world.reserve(1, cost(100)).unwrap();
        world.settle(hold, cost(100));
    }
    assert_eq!(world.period_writes, writes);
    world.check();
}

#[test]
fn a_warned_envelope_grants_exactly_what_is_needed() {
    let mut world = World::with(vec![sample(1, 1_000)]);
    let hold = world.reserve(1, cost(800)).unwrap();
    world.settle(hold, cost(800));
    world.settle_run(1);
    world.reserve(2, cost(7)).unwrap();
    let start = world.periods.keys().next().unwrap().1;
    assert_eq!(world.allocations[&(2, 1, start)].granted, 7);
    assert!(world.periods.values().all(|p| p.warned && !p.blocked));
}

#[test]
fn idle_escrow_of_others_never_causes_a_refusal() {
    let mut world = World::with(vec![sample(1, 1_000)]);
    for run in 1..=10 {
        world.reserve(run, cost(1)).unwrap();
    }
    let idle: i64 = world.allocations.values().map(crate::account::Allocation::free).sum();
    assert!(idle > 0);
    assert_eq!(world.reserve(11, cost(991)).unwrap_err()[0].reservable, 990);
    assert!(world.reserve(11, cost(990)).is_ok());
    world.check();
    world.check_no_overshoot();
}

#[test]
fn a_reserve_takes_all_envelopes_or_none() {
    let mut tight = sample(2, 10);
    tight.spec.unit = crate::words::Unit::Steps;
    let mut world = World::with(vec![sample(1, 1_000_000), tight]);
    for _ in 0..10 {
        world.reserve(1, cost(5)).unwrap();
    }
    let before = world.allocations.clone();
    let refusals = world.reserve(1, cost(5)).unwrap_err();
    assert_eq!(refusals.iter().map(|r| r.envelope).collect::<Vec<_>>(), [2]);
    assert_eq!(world.allocations, before);
    world.check();
}
