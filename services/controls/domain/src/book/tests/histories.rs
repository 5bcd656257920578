//! I1 to I5, I7, I8, I10, I11 over generated histories.

use proptest::prelude::*;
use runspine_types::Micros;

use super::{World, cost};
use crate::{
    account::AllocKey,
    estimate::Amounts,
    limit::{Key, Limit, sample},
    words::{AmbiguousCharge, EntryKind, Funding, HoldState, Overage, PeriodKind, ReleaseReason, Unit},
};

#[derive(Debug, Clone)]
enum Act {
    Reserve { run: Key, cost: i64 },
    Extend { pick: usize, cost: i64 },
    Settle { pick: usize, cost: i64 },
    Late { pick: usize, cost: i64 },
    Release { pick: usize },
    Ambiguous { pick: usize },
    Lapse { run: Key },
    Renew { run: Key },
    Return { run: Key },
    End { run: Key },
    Adjust { envelope: Key, amount: i64 },
    Kill { pick: usize, cost: i64 },
    Wait { hours: i64 },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (1..5_i64, 0..60_i64).prop_map(|(run, cost)| Act::Reserve { run, cost }),
        1 => (any::<usize>(), 0..40_i64).prop_map(|(pick, cost)| Act::Extend { pick, cost }),
        5 => (any::<usize>(), 0..120_i64).prop_map(|(pick, cost)| Act::Settle { pick, cost }),
        1 => (any::<usize>(), 0..120_i64).prop_map(|(pick, cost)| Act::Late { pick, cost }),
        1 => any::<usize>().prop_map(|pick| Act::Release { pick }),
        1 => any::<usize>().prop_map(|pick| Act::Ambiguous { pick }),
        1 => (1..5_i64).prop_map(|run| Act::Lapse { run }),
        1 => (1..5_i64).prop_map(|run| Act::Renew { run }),
        1 => (1..4_i64, -60..60_i64).prop_map(|(envelope, amount)| Act::Adjust { envelope, amount }),
        1 => (any::<usize>(), 0..120_i64).prop_map(|(pick, cost)| Act::Kill { pick, cost }),
        1 => (1..5_i64).prop_map(|run| Act::Return { run }),
        1 => (1..5_i64).prop_map(|run| Act::End { run }),
        1 => (1..30_i64).prop_map(|hours| Act::Wait { hours }),
    ]
}

fn limits(overage: usize, block: u32, rollover: bool) -> Vec<Limit> {
    let mut daily = sample(1, 300);
    daily.spec.overage = Overage::ALL[overage];
    daily.spec.overdraft_limit = if daily.spec.overage == Overage::AllowWithOverdraft { 70 } else { 0 };
    daily.spec.block_permille = block;
    daily.spec.rollover = rollover;
    daily.spec.ambiguous_charge = AmbiguousCharge::Estimate;
    let mut total = sample(2, 40);
    total.spec.unit = Unit::Steps;
    total.spec.period = Some(PeriodKind::Total);
    let mut hourly = sample(3, 200);
    hourly.spec.period = Some(PeriodKind::Hourly);
    hourly.spec.overage = Overage::Reject;
    vec![daily, total, hourly]
}

impl World {
    fn act(&mut self, act: &Act) {
        match *act {
            // A lapsed lease refuses before any envelope is asked.
            Act::Reserve { run, .. } if self.lapsed.contains(&run) => {}
            Act::Reserve { run, cost } => self.try_reserve(run, cost),
            Act::Extend { pick, cost } => self.try_extend(pick, cost),
            Act::Settle { pick, cost } => {
                if let Some(index) = self.pick(pick) {
                    let charged = self.settle(index, self::cost(cost));
                    assert!(
                        charged.iter().all(|c| c.funded + c.debt + c.unfunded == c.actual),
                        "booked in full"
                    );
                }
            }
            Act::Late { pick, cost } => self.late(pick, cost),
            Act::Release { pick } => {
                let Some(index) = self.pick(pick) else { return };
                let mut hold = self.holds[index].clone();
                self.commit(&[hold.key.0], |book| {
                    book.release(&mut hold, ReleaseReason::PolicyDenied);
                    Ok(())
                });
                self.holds[index] = hold;
            }
            Act::Ambiguous { pick } => {
                if let Some(index) = self.pick(pick) {
                    self.holds[index].ambiguous = true;
                }
            }
            Act::Lapse { run } => {
                self.lapse(run);
                self.lapsed.insert(run);
            }
            Act::Renew { run } => {
                // A lease that lapsed lives again; what has expired with it stays so.
                let before = (self.holds_of(run).len(), self.periods.clone());
                self.lapsed.remove(&run);
                assert_eq!((self.holds_of(run).len(), self.periods.clone()), before);
            }
            Act::Adjust { envelope, amount } => self.adjust(envelope, amount),
            Act::Kill { pick, cost } => self.kill(pick, self::cost(cost)),
            Act::Return { run } => self.commit(&[run], |book| book.return_free(run)),
            Act::End { run } => self.end(run),
            Act::Wait { hours } => self.now = self.now.plus_millis(hours * 3_600_000),
        }
    }

    /// A change of L, either way: to lower it takes nothing back, and only stops growth.
    fn adjust(&mut self, envelope: Key, amount: i64) {
        let now = self.now;
        self.commit(&[], |book| {
            let period = book.current(envelope, now)?;
            book.adjust(period, amount)
        });
        self.deficits = self.overshoot();
    }

    /// A settle whose commit is lost with its process, and then the same one again: it counts once.
    fn kill(&mut self, pick: usize, actual: Amounts) {
        let Some(index) = self.pick(pick) else { return };
        let rows = |w: &Self| (w.periods.clone(), w.allocations.clone(), w.entries.clone(), w.holds.clone());
        let before = rows(self);
        let charged = self.settle(index, actual);
        let once = rows(self);
        (self.periods, self.allocations, self.entries, self.holds) = before;
        assert_eq!(self.settle(index, actual), charged);
        assert_eq!(rows(self), once);
    }

    /// I1: nothing but a lower limit brings a period past it, and then it comes no further past it.
    fn check_growth(&mut self) {
        let now = self.overshoot();
        for (key, deficit) in &now {
            let before = self.deficits.get(key).copied().unwrap_or(0);
            assert!(*deficit <= before, "{key:?} is {deficit} past its limit, and was {before}");
        }
        self.deficits = now;
    }

    /// I5: a run whose lease lapsed holds nothing.
    fn check_leak(&self) {
        for run in &self.lapsed {
            assert!(self.holds_of(*run).is_empty(), "run {run} holds something");
            let open = self.allocations.values().any(|a| a.key.0 == *run && a.open);
            assert!(!open, "run {run} has escrow");
        }
    }

    fn pick(&self, pick: usize) -> Option<usize> {
        let active: Vec<usize> =
            (0..self.holds.len()).filter(|i| self.holds[*i].state == HoldState::Active).collect();
        (!active.is_empty()).then(|| active[pick % active.len()])
    }

    /// I8 and I10: a refusal is true at its commit and leaves nothing behind.
    fn try_reserve(&mut self, run: Key, amount: i64) {
        let before = (self.allocations.clone(), self.periods.clone());
        match self.reserve(run, cost(amount)) {
            Ok(index) => assert_eq!(self.holds[index].lines.len(), self.limits.len()),
            Err(refusals) => {
                assert_eq!((&self.allocations, &self.periods), (&before.0, &before.1), "nothing was changed");
                for refusal in refusals {
                    let key = (refusal.envelope, refusal.period_start);
                    let Some(period) = self.periods.get(&key) else { continue };
                    let limit = &self.limits[&key.0];
                    let bound: i64 = self.open_in(key).map(|a| a.held + a.spent).sum();
                    let left = limit.ceiling(period.limit_value(limit)) - period.settled - bound;
                    assert!(left < refusal.need, "a false refusal: {left} left, {refusal:?}");
                }
            }
        }
    }

    fn try_extend(&mut self, pick: usize, amount: i64) {
        let Some(index) = self.pick(pick) else { return };
        let hold = self.holds[index].clone();
        let extra = Amounts { count: 0, ..cost(amount) };
        if let super::Reserved::Held(lines) = self.commit(&[hold.key.0], |book| book.extend(&hold, &extra)) {
            self.holds[index].lines = lines;
        }
    }

    fn late(&mut self, pick: usize, amount: i64) {
        let ended: Vec<usize> = (0..self.holds.len())
            .filter(|i| matches!(self.holds[*i].state, HoldState::Expired | HoldState::Released))
            .filter(|i| !self.entries.iter().any(|e| e.step == Some((self.holds[*i].key.1, 0))))
            .collect();
        if ended.is_empty() {
            return;
        }
        let hold = self.holds[ended[pick % ended.len()]].clone();
        let step = (hold.key.1, hold.key.2);
        self.commit(&[hold.key.0], |book| book.charge_late(hold.key.0, step, &hold.lines, &cost(amount)));
    }

    /// Ends a run; half of the time the settlement is reversed at once.
    fn end(&mut self, run: Key) {
        let first = self.entries.len();
        self.settle_run(run);
        assert!(self.allocations.values().all(|a| a.key.0 != run || !a.open), "the account is closed");
        if self.now.0 % 2 == 0 {
            return;
        }
        let estimated: Vec<(AllocKey, Funding, i64)> = self.entries[first..]
            .iter()
            .filter(|e| e.of_settlement && e.kind == EntryKind::Charge)
            .filter_map(|e| Some(((e.run?, e.period.0, e.period.1), e.funding?, e.amount)))
            .collect();
        self.commit(&[run], |book| book.reverse(&estimated));
    }
}

/// Few by default: A4.1 asks for 100,000, which `scripts/acceptance` runs.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_after_every_commit(
        acts in proptest::collection::vec(act(), 1..50),
        overage in 0..3_usize,
        block in prop_oneof![Just(1_000_u32), Just(900)],
        rollover in any::<bool>(),
        odd in 0..2_i64,
    ) {
        let mut world = World::with(limits(overage, block, rollover));
        world.now = Micros(world.now.0 + odd);
        for act in &acts {
            world.act(act);
            world.check();
            world.check_growth();
            world.check_leak();
        }
        for run in 1..5 {
            world.settle_run(run);
        }
        world.check();
        prop_assert!(world.periods.values().all(|p| p.granted == 0), "no escrow is left");
    }

    #[test]
    fn the_order_of_settles_changes_neither_usage_nor_what_is_unfunded(
        costs in proptest::collection::vec((0..80_i64, 0..200_i64), 1..8),
        overage in 0..3_usize,
    ) {
        let totals = |order: &mut dyn Iterator<Item = usize>| {
            let mut world = World::with(limits(overage, 1_000, false));
            let holds: Vec<Option<usize>> =
                costs.iter().enumerate().map(|(run, (held, _))| {
                    world.reserve(Key::try_from(run).unwrap(), cost(*held)).ok()
                }).collect();
            for index in order {
                if let Some(hold) = holds[index] {
                    world.settle(hold, cost(costs[index].1));
                }
            }
            world.check();
            let sum = |k: &crate::account::PeriodKey| (k.0, world.sums(*k).usage + world.periods[k].unfunded);
            world.periods.keys().map(sum).collect::<Vec<_>>()
        };
        prop_assert_eq!(totals(&mut (0..costs.len())), totals(&mut (0..costs.len()).rev()));
    }
}
