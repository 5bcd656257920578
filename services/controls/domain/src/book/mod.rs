//! The part of the accounts that a transaction works on.
//!
//! Rows are put in as they were read; an operation works on them in memory, and what differs afterwards is written. An
//! operation that needs a row which was not read changes nothing and says which one is [`Missing`]; one that refuses
//! changes nothing either.

mod charge;
mod close;
mod escrow;
mod reserve;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use runspine_types::Micros;

pub use charge::Charged;
pub use reserve::{Need, Refusal, Reserved, Waive};

use crate::{
    account::{AllocKey, Allocation, Entry, Period, PeriodKey},
    limit::{Key, Limit, permille},
    period::{Bounds, bounds},
    words::{EntryKind, Funding},
};

/// What has to be loaded before the operation can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The latest period of an envelope.
    Latest(Key),
    /// A period.
    Period(PeriodKey),
    /// Every open allocation of a period.
    Allocations(PeriodKey),
}

impl Missing {
    /// The envelope that it is about.
    #[must_use]
    pub fn envelope(self) -> Key {
        match self {
            Self::Latest(envelope) => envelope,
            Self::Period(key) | Self::Allocations(key) => key.0,
        }
    }
}

/// Something that is said once in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// The period.
    pub period: PeriodKey,
    /// Whether it blocks; else it only warns.
    pub blocked: bool,
    /// Booked use at that time.
    pub usage: i64,
    /// L at that time.
    pub limit_value: i64,
    /// Whose call it was.
    pub run: Option<Key>,
}

/// How an envelope stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Booked use.
    pub usage: i64,
    /// Held for steps under way.
    pub held: i64,
    /// L.
    pub limit_value: i64,
    /// What could still be reserved, with all idle escrow taken back.
    pub reservable: i64,
}

#[derive(Debug, Clone)]
struct Slot<T> {
    original: Option<T>,
    current: T,
}

#[derive(Debug, Clone)]
enum Undo {
    Period(PeriodKey, Option<Period>),
    Allocation(AllocKey, Option<Allocation>),
    Latest(Key, Option<Micros>),
}

/// A point to go back to.
#[derive(Debug, Clone, Copy)]
struct Mark {
    journal: usize,
    entries: usize,
    notices: usize,
}

/// The working set of a transaction.
#[derive(Debug, Default)]
pub struct Book {
    limits: HashMap<Key, Arc<Limit>>,
    latest: HashMap<Key, Option<Micros>>,
    periods: HashMap<PeriodKey, Slot<Period>>,
    /// Sum of P of the open allocations of a period, as the store had it.
    stored_spent: HashMap<PeriodKey, i64>,
    /// By how much the known allocations moved it since: asked at every charge of a group, so it is not summed up anew.
    moved_spent: HashMap<PeriodKey, i64>,
    allocations: BTreeMap<AllocKey, Slot<Allocation>>,
    by_period: HashMap<PeriodKey, BTreeSet<Key>>,
    complete: HashSet<PeriodKey>,
    entries: Vec<Entry>,
    notices: Vec<Notice>,
    journal: Vec<Undo>,
}

impl Book {
    /// An empty working set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes an envelope known with the limit behind it.
    pub fn put_envelope(&mut self, envelope: Key, limit: Arc<Limit>) {
        self.limits.insert(envelope, limit);
    }

    /// Whether an envelope is known.
    #[must_use]
    pub fn knows(&self, envelope: Key) -> bool {
        self.limits.contains_key(&envelope)
    }

    /// The limit behind an envelope.
    #[must_use]
    pub fn limit(&self, envelope: Key) -> Option<&Arc<Limit>> {
        self.limits.get(&envelope)
    }

    /// Puts a period in as it was read, with the sum of P of its open allocations. One that is in already stays.
    pub fn put_period(&mut self, period: Period, open_spent: i64) {
        self.stored_spent.entry(period.key).or_insert(open_spent);
        self.periods.entry(period.key).or_insert(Slot { original: Some(period), current: period });
    }

    /// Says which period of an envelope is the latest; `None`: it has none.
    pub fn put_latest(&mut self, envelope: Key, start: Option<Micros>) {
        self.latest.entry(envelope).or_insert(start);
    }

    /// Puts an allocation in as it was read. One that is in already stays.
    pub fn put_allocation(&mut self, allocation: Allocation) {
        self.index(allocation.key);
        let slot = Slot { original: Some(allocation), current: allocation };
        self.allocations.entry(allocation.key).or_insert(slot);
    }

    /// Says that every open allocation of a period was put in.
    pub fn put_complete(&mut self, period: PeriodKey) {
        self.complete.insert(period);
    }

    /// A period as it is now.
    #[must_use]
    pub fn period(&self, key: PeriodKey) -> Option<&Period> {
        self.periods.get(&key).map(|slot| &slot.current)
    }

    /// An allocation as it is now.
    #[must_use]
    pub fn allocation(&self, key: AllocKey) -> Option<&Allocation> {
        self.allocations.get(&key).map(|slot| &slot.current)
    }

    /// The allocations of a run, by envelope and period.
    pub fn allocations_of(&self, run: Key) -> impl Iterator<Item = &Allocation> {
        let first = (run, Key::MIN, Micros(i64::MIN));
        let last = (run, Key::MAX, Micros(i64::MAX));
        self.allocations.range(first..=last).map(|(_, slot)| &slot.current)
    }

    /// The known allocations of a period.
    pub fn allocations_in(&self, period: PeriodKey) -> impl Iterator<Item = &Allocation> {
        let runs = self.by_period.get(&period).into_iter().flatten();
        runs.filter_map(move |run| self.allocation((*run, period.0, period.1)))
    }

    /// Booked use of a period: S and what open allocations spent.
    #[must_use]
    pub fn usage(&self, key: PeriodKey) -> i64 {
        self.period(key).map_or(0, |p| p.settled) + self.open_spent(key)
    }

    /// Sum of P of the open allocations of a period, as it is now.
    #[must_use]
    pub fn open_spent(&self, key: PeriodKey) -> i64 {
        let of = |sums: &HashMap<PeriodKey, i64>| sums.get(&key).copied().unwrap_or(0);
        of(&self.stored_spent) + of(&self.moved_spent)
    }

    /// Periods that differ from what was read.
    pub fn changed_periods(&self) -> impl Iterator<Item = &Period> {
        let changed = |slot: &&Slot<Period>| slot.original.as_ref() != Some(&slot.current);
        self.periods.values().filter(changed).map(|slot| &slot.current)
    }

    /// Periods that were closed here.
    pub fn closed_periods(&self) -> impl Iterator<Item = PeriodKey> {
        let closed = |slot: &&Slot<Period>| slot.current.closed && slot.original.is_none_or(|p| !p.closed);
        self.periods.values().filter(closed).map(|slot| slot.current.key)
    }

    /// Allocations that differ from what was read, in the order of their keys.
    pub fn changed_allocations(&self) -> impl Iterator<Item = &Allocation> {
        let changed = |slot: &&Slot<Allocation>| slot.original.as_ref() != Some(&slot.current);
        self.allocations.values().filter(changed).map(|slot| &slot.current)
    }

    /// The movements that were made.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What is to be said.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// The period of an envelope that `now` falls into, made when it does not exist yet. A clock that goes back reopens
    /// no period: the latest one is meant then.
    ///
    /// # Errors
    /// What has to be loaded first.
    pub fn current(&mut self, envelope: Key, now: Micros) -> Result<PeriodKey, Missing> {
        let Some(limit) = self.limits.get(&envelope).cloned() else { return Err(Missing::Latest(envelope)) };
        let spec = &limit.spec;
        let wanted = bounds(spec.period(), spec.utc_offset_minutes, limit.created_at, now);
        let key = (envelope, wanted.start);
        if self.periods.contains_key(&key) {
            return Ok(key);
        }
        match self.latest.get(&envelope) {
            None => Err(Missing::Latest(envelope)),
            Some(Some(latest)) if *latest >= wanted.start => Ok((envelope, *latest)),
            Some(latest) => {
                let previous = latest.map(|start| (envelope, start));
                self.begin(key, wanted, previous)
            }
        }
    }

    /// How an envelope stands at a time, with every open allocation counted.
    ///
    /// # Errors
    /// What has to be loaded first.
    pub fn standing(&mut self, envelope: Key, now: Micros) -> Result<Standing, Missing> {
        let key = self.current(envelope, now)?;
        let (limit, period) = (self.terms(envelope)?, self.need_period(key)?);
        if !self.complete.contains(&key) {
            return Err(Missing::Allocations(key));
        }
        let held: i64 = self.allocations_in(key).filter(|a| a.open).map(|a| a.held).sum();
        let (usage, limit_value) = (self.usage(key), period.limit_value(&limit));
        let reservable = (limit.ceiling(limit_value) - usage - held).max(0);
        Ok(Standing { usage, held, limit_value, reservable })
    }

    /// Whether use of a period is below the warning of its limit.
    ///
    /// # Errors
    /// What has to be loaded first.
    pub fn below_warning(&self, key: PeriodKey) -> Result<bool, Missing> {
        let (period, limit) = (self.need_period(key)?, self.terms(key.0)?);
        Ok(permille(self.usage(key), period.limit_value(&limit)) < limit.spec.warn_permille)
    }

    fn begin(
        &mut self,
        key: PeriodKey,
        wanted: Bounds,
        last: Option<PeriodKey>,
    ) -> Result<PeriodKey, Missing> {
        let mut fresh = Period::new(key, wanted.end);
        if let Some(last) = last {
            (fresh.rollover_in, fresh.debt_in) = self.close_period(last, wanted.start)?;
        }
        self.set_period(fresh);
        self.journal.push(Undo::Latest(key.0, last.map(|l| l.1)));
        self.latest.insert(key.0, Some(key.1));
        self.complete.insert(key);
        self.stored_spent.insert(key, 0);
        self.record(key, EntryKind::RolloverIn, None, fresh.rollover_in);
        self.record(key, EntryKind::DebtIn, None, fresh.debt_in);
        Ok(key)
    }

    fn index(&mut self, key: AllocKey) {
        self.by_period.entry((key.1, key.2)).or_default().insert(key.0);
    }

    fn need_period(&self, key: PeriodKey) -> Result<Period, Missing> {
        self.period(key).copied().ok_or(Missing::Period(key))
    }

    fn terms(&self, envelope: Key) -> Result<Arc<Limit>, Missing> {
        self.limits.get(&envelope).cloned().ok_or(Missing::Latest(envelope))
    }

    fn set_period(&mut self, period: Period) {
        let slot = self.periods.get(&period.key);
        self.journal.push(Undo::Period(period.key, slot.map(|s| s.current)));
        match self.periods.get_mut(&period.key) {
            Some(slot) => slot.current = period,
            None => {
                self.periods.insert(period.key, Slot { original: None, current: period });
            }
        }
    }

    fn set_allocation(&mut self, allocation: Allocation) {
        let key = allocation.key;
        let before = self.allocation(key).copied();
        self.move_spent(key, before, Some(allocation));
        self.journal.push(Undo::Allocation(key, before));
        match self.allocations.get_mut(&key) {
            Some(slot) => slot.current = allocation,
            None => {
                self.index(key);
                self.allocations.insert(key, Slot { original: None, current: allocation });
            }
        }
    }

    fn record(&mut self, period: PeriodKey, kind: EntryKind, funding: Option<Funding>, amount: i64) {
        if amount != 0 {
            let (run, step, of_settlement) = (None, None, false);
            self.entries.push(Entry { period, kind, funding, amount, run, step, of_settlement });
        }
    }

    fn record_for(&mut self, key: AllocKey, kind: EntryKind, amount: i64) {
        if amount != 0 {
            let (period, run) = ((key.1, key.2), Some(key.0));
            let entry = Entry { period, kind, funding: None, amount, run, step: None, of_settlement: false };
            self.entries.push(entry);
        }
    }

    /// Says once that a period warns or blocks.
    fn watch(&mut self, key: PeriodKey, run: Option<Key>, exhausted: bool) -> Result<(), Missing> {
        let (mut period, limit) = (self.need_period(key)?, self.terms(key.0)?);
        let (usage, limit_value) = (self.usage(key), period.limit_value(&limit));
        let used = permille(usage, limit_value);
        let (warns, blocks) =
            (used >= limit.spec.warn_permille, exhausted || used >= limit.spec.block_permille);
        let notice = Notice { period: key, blocked: false, usage, limit_value, run };
        if warns && !period.warned {
            self.notices.push(notice);
        }
        if blocks && !period.blocked {
            self.notices.push(Notice { blocked: true, ..notice });
        }
        if (warns && !period.warned) || (blocks && !period.blocked) {
            period.warned |= warns;
            period.blocked |= blocks;
            self.set_period(period);
        }
        Ok(())
    }

    fn mark(&mut self) -> Mark {
        self.journal.clear();
        Mark { journal: 0, entries: self.entries.len(), notices: self.notices.len() }
    }

    fn rollback(&mut self, mark: Mark) {
        while self.journal.len() > mark.journal {
            match self.journal.pop() {
                Some(Undo::Period(key, before)) => restore(&mut self.periods, key, before),
                Some(Undo::Allocation(key, before)) => self.restore_allocation(key, before),
                Some(Undo::Latest(envelope, before)) => {
                    self.latest.insert(envelope, before);
                }
                None => break,
            }
        }
        self.entries.truncate(mark.entries);
        self.notices.truncate(mark.notices);
    }

    fn move_spent(&mut self, key: AllocKey, from: Option<Allocation>, to: Option<Allocation>) {
        let spent = |side: Option<Allocation>| side.filter(|a| a.open).map_or(0, |a| a.spent);
        *self.moved_spent.entry((key.1, key.2)).or_default() += spent(to) - spent(from);
    }

    fn restore_allocation(&mut self, key: AllocKey, before: Option<Allocation>) {
        self.move_spent(key, self.allocation(key).copied(), before);
        match (before, self.allocations.get_mut(&key)) {
            (Some(row), Some(slot)) => slot.current = row,
            (None, Some(_)) => {
                self.allocations.remove(&key);
                if let Some(runs) = self.by_period.get_mut(&(key.1, key.2)) {
                    runs.remove(&key.0);
                }
            }
            (_, None) => {}
        }
    }
}

fn restore(periods: &mut HashMap<PeriodKey, Slot<Period>>, key: PeriodKey, before: Option<Period>) {
    match (before, periods.get_mut(&key)) {
        (Some(row), Some(slot)) => slot.current = row,
        (None, Some(_)) => {
            periods.remove(&key);
        }
        (_, None) => {}
    }
}
