//! Periods: rollover, debt, holds that cross a boundary.

use runspine_types::Micros;

use super::{World, cost};
use crate::{
    limit::sample,
    words::{Overage, PeriodKind},
};

const DAY: i64 = 86_400_000_000;

fn limit_values(world: &World) -> Vec<i64> {
    world.periods.values().map(|p| p.limit_value(&world.limits[&1]) + p.rolled_out).collect()
}

#[test]
fn rollover_is_capped_and_never_rolled_twice() {
    let mut limit = sample(1, 1_000);
    limit.spec.rollover = true;
    let mut world = World::with(vec![limit]);
    let hold = world.reserve(1, cost(100)).unwrap();
    world.settle(hold, cost(100));
    for _ in 0..3 {
        world.now = Micros(world.now.0 + DAY);
        world.reserve(1, cost(1)).unwrap();
        world.check();
        world.check_no_overshoot();
    }
    // 900 were left, 200 go on; afterwards the 200 are used first and only own rest goes on, capped again.
    assert_eq!(limit_values(&world), [1_000, 1_200, 1_200, 1_200]);
}

#[test]
fn what_was_rolled_in_does_not_go_on() {
    let mut limit = sample(1, 1_000);
    limit.spec.rollover = true;
    let mut world = World::with(vec![limit]);
    world.reserve(1, cost(1)).unwrap();
    world.now = Micros(world.now.0 + DAY);
    let hold = world.reserve(1, cost(1_150)).unwrap();
    world.settle(hold, cost(1_150));
    world.now = Micros(world.now.0 + DAY);
    world.reserve(1, cost(1)).unwrap();
    assert_eq!(limit_values(&world), [1_000, 1_200, 1_050]);
    world.check();
    world.check_no_overshoot();
}

#[test]
fn debt_lowers_the_next_period_and_only_the_next() {
    let mut limit = sample(1, 1_000);
    limit.spec.overage = Overage::AllowWithOverdraft;
    limit.spec.overdraft_limit = 300;
    let mut world = World::with(vec![limit]);
    let hold = world.reserve(1, cost(1_000)).unwrap();
    world.settle(hold, cost(1_250));
    for _ in 0..2 {
        world.now = Micros(world.now.0 + DAY);
        world.reserve(1, cost(1)).unwrap();
        world.check();
    }
    assert_eq!(limit_values(&world), [1_000, 750, 1_000]);
}

#[test]
fn a_hold_is_settled_in_the_period_it_was_reserved_in() {
    let mut world = World::with(vec![sample(1, 1_000)]);
    let hold = world.reserve(1, cost(10)).unwrap();
    world.now = Micros(world.now.0 + DAY);
    let next = world.reserve(1, cost(10)).unwrap();
    world.settle(hold, cost(25));
    world.settle(next, cost(5));
    let usage: Vec<i64> = world.periods.keys().map(|k| world.sums(*k).usage).collect();
    assert_eq!(usage, [25, 5]);
    world.check();
    world.settle_run(1);
    assert!(world.periods.values().all(|p| p.granted == 0));
    world.check();
}

#[test]
fn total_never_rolls_and_a_clock_that_goes_back_reopens_nothing() {
    let mut total = sample(1, 1_000);
    total.spec.period = Some(PeriodKind::Total);
    let mut world = World::with(vec![total, sample(2, 1_000)]);
    world.reserve(1, cost(1)).unwrap();
    world.now = Micros(world.now.0 + 3 * DAY);
    world.reserve(1, cost(1)).unwrap();
    world.now = Micros(world.now.0 - 2 * DAY);
    world.reserve(1, cost(1)).unwrap();
    assert_eq!(world.periods.keys().filter(|k| k.0 == 1).count(), 1);
    assert_eq!(world.periods.keys().filter(|k| k.0 == 2).count(), 2);
    world.check();
}
