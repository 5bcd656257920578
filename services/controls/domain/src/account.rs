//! The two rows of an account: a period of an envelope, and a run's allocation in it.

use runspine_types::Micros;

use crate::{
    limit::{Key, Limit, permille},
    words::{EntryKind, Funding},
};

/// A period of an envelope: the envelope and the begin of the period.
pub type PeriodKey = (Key, Micros);
/// An allocation: the run, the envelope, the begin of the period.
pub type AllocKey = (Key, Key, Micros);

/// One period of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// Which one.
    pub key: PeriodKey,
    /// Its end; `None`: it never ends.
    pub end: Option<Micros>,
    /// What the last period left.
    pub rollover_in: i64,
    /// Sum of adjustments.
    pub adjusted: i64,
    /// What the last period owed.
    pub debt_in: i64,
    /// S.
    pub settled: i64,
    /// Sum of G of the open allocations.
    pub granted: i64,
    /// D.
    pub debt: i64,
    /// U.
    pub unfunded: i64,
    /// What went on into the next period when this one was closed.
    pub rolled_out: i64,
    /// Whether a later period exists: no debt is repaid here any more, it went on too.
    pub closed: bool,
    /// Whether the warning was given.
    pub warned: bool,
    /// Whether the block was announced.
    pub blocked: bool,
}

impl Period {
    /// An empty period.
    #[must_use]
    pub fn new(key: PeriodKey, end: Option<Micros>) -> Self {
        Self {
            key,
            end,
            rollover_in: 0,
            adjusted: 0,
            debt_in: 0,
            settled: 0,
            granted: 0,
            debt: 0,
            unfunded: 0,
            rolled_out: 0,
            closed: false,
            warned: false,
            blocked: false,
        }
    }

    /// L.
    #[must_use]
    pub fn limit_value(&self, limit: &Limit) -> i64 {
        limit.spec.max_value + self.rollover_in + self.adjusted - self.debt_in - self.rolled_out
    }

    /// What can be granted, negative when more is out than the limit allows.
    #[must_use]
    pub fn room(&self, limit: &Limit) -> i64 {
        limit.ceiling(self.limit_value(limit)) - self.settled - self.granted
    }

    /// What can be granted.
    #[must_use]
    pub fn available(&self, limit: &Limit) -> i64 {
        self.room(limit).max(0)
    }

    /// Use per mille, with what open allocations have spent.
    #[must_use]
    pub fn used_permille(&self, limit: &Limit, open_spent: i64) -> u32 {
        permille(self.settled + open_spent, self.limit_value(limit))
    }

    /// Pays debt with what came back; returns how much.
    pub fn repay(&mut self, limit: &Limit) -> i64 {
        if self.closed || self.debt == 0 {
            return 0;
        }
        let back = self.limit_value(limit) + self.debt - self.settled - self.granted;
        let paid = back.clamp(0, self.debt);
        self.debt -= paid;
        paid
    }
}

/// A run's escrow in one envelope period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Which one.
    pub key: AllocKey,
    /// G.
    pub granted: i64,
    /// H.
    pub held: i64,
    /// P.
    pub spent: i64,
    /// What the run used here in all, funded or by debt: P and what was checkpointed.
    pub used: i64,
    /// What the run used here and nothing funded.
    pub unfunded: i64,
    /// Whether the escrow is out.
    pub open: bool,
}

impl Allocation {
    /// An empty, open allocation.
    #[must_use]
    pub fn new(key: AllocKey) -> Self {
        Self { key, granted: 0, held: 0, spent: 0, used: 0, unfunded: 0, open: true }
    }

    /// Escrow that nothing holds.
    #[must_use]
    pub fn free(&self) -> i64 {
        self.granted - self.held - self.spent
    }

    /// The period it belongs to.
    #[must_use]
    pub fn period(&self) -> PeriodKey {
        (self.key.1, self.key.2)
    }
}

/// One movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The period.
    pub period: PeriodKey,
    /// What kind.
    pub kind: EntryKind,
    /// What paid it, for charges and reversals.
    pub funding: Option<Funding>,
    /// How much.
    pub amount: i64,
    /// The run.
    pub run: Option<Key>,
    /// Step and ask of the hold.
    pub step: Option<(i64, i64)>,
    /// Whether the settlement that is being made charged it.
    pub of_settlement: bool,
}
