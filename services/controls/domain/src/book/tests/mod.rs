//! A store in memory, and what is proved over it.

mod histories;
mod overage;
mod periods;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use runspine_types::Micros;

use super::{Book, Missing, Need, Refusal, Reserved};
use crate::{
    account::{AllocKey, Allocation, Entry, Period, PeriodKey},
    estimate::Amounts,
    hold::Hold,
    limit::{Key, Limit},
    verify::Sums,
    words::{EstimateSource, HoldState},
};

/// The rows of a store, and a commit after each operation.
#[derive(Default)]
struct World {
    limits: BTreeMap<Key, Arc<Limit>>,
    periods: BTreeMap<PeriodKey, Period>,
    allocations: BTreeMap<AllocKey, Allocation>,
    entries: Vec<Entry>,
    holds: Vec<Hold>,
    period_writes: usize,
    now: Micros,
    /// Runs whose lease lapsed.
    lapsed: BTreeSet<Key>,
    /// By how much each period was past its limit at the last look.
    deficits: BTreeMap<PeriodKey, i64>,
}

impl World {
    /// Envelope `n` has limit `n`.
    fn with(limits: Vec<Limit>) -> Self {
        let limits = limits.into_iter().map(|l| (l.key, Arc::new(l))).collect();
        Self { limits, now: Micros(1_000), ..Self::default() }
    }

    /// Runs an operation as a transaction does: load, try, load what is missing, try again, commit.
    fn commit<T>(&mut self, runs: &[Key], mut f: impl FnMut(&mut Book) -> Result<T, Missing>) -> T {
        let mut book = Book::new();
        self.limits.iter().for_each(|(key, limit)| book.put_envelope(*key, limit.clone()));
        for allocation in self.allocations.values().filter(|a| runs.contains(&a.key.0)) {
            book.put_allocation(*allocation);
        }
        let answer = loop {
            match f(&mut book) {
                Ok(answer) => break answer,
                Err(missing) => self.load(&mut book, missing),
            }
        };
        for period in book.changed_periods() {
            self.periods.insert(period.key, *period);
            self.period_writes += 1;
        }
        for allocation in book.changed_allocations() {
            self.allocations.insert(allocation.key, *allocation);
        }
        self.entries.extend_from_slice(book.entries());
        answer
    }

    fn load(&self, book: &mut Book, missing: Missing) {
        match missing {
            Missing::Latest(envelope) => {
                let latest = self.periods.keys().filter(|k| k.0 == envelope).map(|k| k.1).max();
                if let Some(start) = latest {
                    self.load(book, Missing::Period((envelope, start)));
                }
                book.put_latest(envelope, latest);
            }
            Missing::Period(key) => book.put_period(self.periods[&key], self.open_spent(key)),
            Missing::Allocations(key) => {
                self.open_in(key).for_each(|a| book.put_allocation(*a));
                book.put_complete(key);
            }
        }
    }

    fn open_in(&self, key: PeriodKey) -> impl Iterator<Item = &Allocation> {
        self.allocations.values().filter(move |a| a.period() == key && a.open)
    }

    fn open_spent(&self, key: PeriodKey) -> i64 {
        self.open_in(key).map(|a| a.spent).sum()
    }

    fn reserve(&mut self, run: Key, amounts: Amounts) -> Result<usize, Vec<Refusal>> {
        let needs: Vec<Need> = self
            .limits
            .iter()
            .map(|(key, limit)| Need { envelope: *key, amount: amounts.of(limit.spec.unit), waive: None })
            .collect();
        let now = self.now;
        match self.commit(&[run], |book| book.reserve(run, &needs, now)) {
            Reserved::Refused(refusals) => Err(refusals),
            Reserved::Held(lines) => {
                let index = self.holds.len();
                let step = i64::try_from(index).unwrap();
                self.holds.push(Hold {
                    key: (run, step, 0),
                    id: format!("hold-{index}"),
                    state: HoldState::Active,
                    amounts,
                    source: EstimateSource::Client,
                    extensions: 0,
                    ambiguous: false,
                    released_for: None,
                    lines,
                });
                Ok(index)
            }
        }
    }

    fn settle(&mut self, index: usize, actual: Amounts) -> Vec<super::Charged> {
        let mut hold = self.holds[index].clone();
        let charged = self.commit(&[hold.key.0], |book| book.settle(&mut hold, &actual));
        self.holds[index] = hold;
        charged
    }

    fn holds_of(&self, run: Key) -> Vec<Hold> {
        self.holds.iter().filter(|h| h.key.0 == run && h.state == HoldState::Active).cloned().collect()
    }

    fn put_holds(&mut self, holds: Vec<Hold>) {
        for hold in holds {
            let index = usize::try_from(hold.key.1).unwrap();
            self.holds[index] = hold;
        }
    }

    fn settle_run(&mut self, run: Key) {
        let mut holds = self.holds_of(run);
        self.commit(&[run], |book| book.settle_run(run, &mut holds));
        self.put_holds(holds);
    }

    fn lapse(&mut self, run: Key) {
        let mut holds = self.holds_of(run);
        self.commit(&[run], |book| book.lapse(run, &mut holds));
        self.put_holds(holds);
    }

    fn sums(&self, key: PeriodKey) -> Sums {
        let mut sums = Sums::default();
        self.entries.iter().filter(|e| e.period == key).for_each(|e| sums.add(e));
        sums
    }

    /// I1, I2, I4, I11 over every row.
    fn check(&self) {
        for (key, period) in &self.periods {
            let limit = &self.limits[&key.0];
            let out: i64 = self.open_in(*key).map(|a| a.granted).sum();
            assert_eq!(period.granted, out, "granted is the sum of the open allocations of {key:?}");
            assert!((0..=limit.spec.overdraft_limit).contains(&period.debt), "debt in {period:?}");
            let sums = self.sums(*key);
            assert_eq!(sums.differences(period), [], "entries explain {period:?}");
            assert_eq!(sums.usage, period.settled + self.open_spent(*key), "conservation of {key:?}");
            for (run, (used, unfunded)) in &sums.runs {
                let allocation = &self.allocations[&(*run, key.0, key.1)];
                assert_eq!(
                    (allocation.used, allocation.unfunded),
                    (*used, *unfunded),
                    "run {run} in {key:?}"
                );
            }
        }
        for allocation in self.allocations.values() {
            let Allocation { granted, held, spent, .. } = *allocation;
            assert!(held >= 0 && spent >= 0 && held + spent <= granted, "escrow covers {allocation:?}");
            let lines =
                self.holds.iter().filter(|h| h.state == HoldState::Active && h.key.0 == allocation.key.0);
            let lines = lines.flat_map(|h| &h.lines);
            let mine = lines.filter(|l| (l.envelope, l.period_start) == allocation.period());
            assert_eq!(
                held,
                mine.map(|l| l.amount).sum::<i64>(),
                "held is the sum of lines of {allocation:?}"
            );
        }
    }

    /// By how much each period is past its limit and its debt.
    fn overshoot(&self) -> BTreeMap<PeriodKey, i64> {
        let of = |(key, period): (&PeriodKey, &Period)| {
            let room = period.limit_value(&self.limits[&key.0]) + period.debt;
            (*key, (period.settled + period.granted - room).max(0))
        };
        self.periods.iter().map(of).collect()
    }

    /// I1 where no limit was lowered.
    fn check_no_overshoot(&self) {
        for (key, deficit) in self.overshoot() {
            assert_eq!(deficit, 0, "overshoot of {key:?}");
        }
    }
}

fn cost(amount: i64) -> Amounts {
    Amounts { cost_microusd: amount, count: 1, ..Amounts::default() }
}
