//! Recomputes a period from its entries.

use std::collections::BTreeMap;

use crate::{
    account::{Entry, Period},
    limit::Key,
    words::{EntryKind, Funding},
};

/// What the entries of a period add up to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sums {
    /// S.
    pub settled: i64,
    /// Sum of G.
    pub granted: i64,
    /// D.
    pub debt: i64,
    /// U.
    pub unfunded: i64,
    /// What was rolled in.
    pub rollover_in: i64,
    /// What was adjusted.
    pub adjusted: i64,
    /// What was owed before.
    pub debt_in: i64,
    /// S + sum of P: use that was funded or owed.
    pub usage: i64,
    /// Of each run: used, unfunded.
    pub runs: BTreeMap<Key, (i64, i64)>,
}

impl Sums {
    /// Adds one entry.
    pub fn add(&mut self, entry: &Entry) {
        let amount = entry.amount;
        match (entry.kind, entry.funding) {
            (EntryKind::Grant, _) => self.granted += amount,
            (EntryKind::Return | EntryKind::Reclaim, _) => self.granted -= amount,
            (EntryKind::Checkpoint, _) => {
                self.granted -= amount;
                self.settled += amount;
            }
            (EntryKind::Charge | EntryKind::LateCharge, Some(Funding::Unfunded)) => self.unfunded += amount,
            (EntryKind::Charge, funding) => {
                self.usage += amount;
                if funding == Some(Funding::Debt) {
                    self.granted += amount;
                    self.debt += amount;
                }
            }
            (EntryKind::LateCharge, funding) => {
                self.usage += amount;
                self.settled += amount;
                if funding == Some(Funding::Debt) {
                    self.debt += amount;
                }
            }
            (EntryKind::Reversal, Some(Funding::Unfunded)) => self.unfunded -= amount,
            (EntryKind::Reversal, _) => {
                self.usage -= amount;
                self.settled -= amount;
            }
            (EntryKind::Adjust, _) => self.adjusted += amount,
            (EntryKind::RolloverIn, _) => self.rollover_in += amount,
            (EntryKind::DebtIn, _) => self.debt_in += amount,
            (EntryKind::DebtRepaid, _) => self.debt -= amount,
        }
        self.add_to_run(entry);
    }

    fn add_to_run(&mut self, entry: &Entry) {
        let (Some(run), Some(funding)) = (entry.run, entry.funding) else { return };
        let sign = if entry.kind == EntryKind::Reversal { -1 } else { 1 };
        let (used, unfunded) = self.runs.entry(run).or_default();
        let sum = if funding == Funding::Unfunded { unfunded } else { used };
        *sum += sign * entry.amount;
    }

    /// The numbers of a period that the entries don't explain: name, stored, computed.
    #[must_use]
    pub fn differences(&self, period: &Period) -> Vec<(&'static str, i64, i64)> {
        let rows = [
            ("settled", period.settled, self.settled),
            ("granted", period.granted, self.granted),
            ("debt", period.debt, self.debt),
            ("unfunded", period.unfunded, self.unfunded),
            ("rollover_in", period.rollover_in, self.rollover_in),
            ("adjusted", period.adjusted, self.adjusted),
            ("debt_in", period.debt_in, self.debt_in),
        ];
        rows.into_iter().filter(|(_, stored, computed)| stored != computed).collect()
    }
}
