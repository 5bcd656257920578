//! Charges: what was really used is booked in full, whatever funds it.

use runspine_types::Micros;

use super::{Book, Missing};
use crate::{
    account::{AllocKey, Allocation, Entry, PeriodKey},
    estimate::Amounts,
    hold::{Hold, HoldEvent, Line, next},
    limit::Key,
    words::{EntryKind, Funding, HoldState, Overage, ReleaseReason},
};

/// What one envelope was charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charged {
    /// The envelope.
    pub envelope: Key,
    /// Begin of the period.
    pub period_start: Micros,
    /// What was held.
    pub held: i64,
    /// What was used.
    pub actual: i64,
    /// Of it paid by the envelope.
    pub funded: i64,
    /// Of it paid by debt.
    pub debt: i64,
    /// Of it paid by nothing.
    pub unfunded: i64,
}

/// On whose behalf a charge is made.
#[derive(Debug, Clone, Copy)]
struct Cause {
    kind: EntryKind,
    step: (i64, i64),
    of_settlement: bool,
}

impl Book {
    /// Books the actual amounts of an active hold.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn settle(&mut self, hold: &mut Hold, actual: &Amounts) -> Result<Vec<Charged>, Missing> {
        let mark = self.mark();
        let cause = Cause { kind: EntryKind::Charge, step: (hold.key.1, hold.key.2), of_settlement: false };
        let mut charged = Vec::with_capacity(hold.lines.len());
        for line in &hold.lines {
            let result = self
                .amount_of(line.envelope, actual)
                .and_then(|amount| self.charge_line(hold.key.0, line, amount, cause));
            match result {
                Ok(row) => charged.push(row),
                Err(missing) => {
                    self.rollback(mark);
                    return Err(missing);
                }
            }
        }
        hold.state = next(hold.state, HoldEvent::Settle).unwrap_or(hold.state);
        Ok(charged)
    }

    /// Charges what was held for an ambiguous step where the envelope wants it so, and releases the rest.
    pub(super) fn settle_ambiguous(&mut self, hold: &mut Hold) -> Result<(), Missing> {
        let cause = Cause { kind: EntryKind::Charge, step: (hold.key.1, hold.key.2), of_settlement: true };
        let mut any = false;
        for line in hold.lines.clone() {
            let estimate =
                self.terms(line.envelope)?.spec.ambiguous_charge == crate::words::AmbiguousCharge::Estimate;
            let amount = if estimate && !line.unfunded { line.amount } else { 0 };
            any |= amount > 0;
            self.charge_line(hold.key.0, &line, amount, cause)?;
        }
        let event = if any { HoldEvent::Settle } else { HoldEvent::Release };
        hold.state = next(hold.state, event).unwrap_or(hold.state);
        if hold.state == HoldState::Released {
            hold.released_for = Some(ReleaseReason::RunEnded);
        }
        Ok(())
    }

    fn amount_of(&self, envelope: Key, actual: &Amounts) -> Result<i64, Missing> {
        Ok(actual.of(self.terms(envelope)?.spec.unit))
    }

    fn charge_line(&mut self, run: Key, line: &Line, actual: i64, cause: Cause) -> Result<Charged, Missing> {
        let key = (run, line.envelope, line.period_start);
        let mut allocation = self.opened(key);
        allocation.held -= line.amount;
        let within = if line.unfunded { 0 } else { actual.min(line.amount) };
        allocation.spent += within;
        self.set_allocation(allocation);
        let (mut funded, mut debt) = (within, 0);
        if !line.unfunded && actual > within {
            let (more, owed) = self.fund_excess(key, actual - within)?;
            funded += more;
            debt = owed;
        }
        let row = Charged {
            envelope: line.envelope,
            period_start: line.period_start,
            held: line.amount,
            actual,
            funded,
            debt,
            unfunded: actual - funded - debt,
        };
        self.book(key, &row, cause)?;
        Ok(row)
    }

    /// Funds use beyond the hold by the overage rule: (funded, debt); the rest is unfunded.
    fn fund_excess(&mut self, key: AllocKey, excess: i64) -> Result<(i64, i64), Missing> {
        let limit = self.terms(key.1)?;
        if limit.spec.overage == Overage::Reject {
            return Ok((0, 0));
        }
        let mut funded = self.opened(key).free().min(excess);
        self.spend(key, funded);
        if funded < excess {
            let covered = self.cover(key, excess - funded, false)?;
            self.spend(key, covered);
            funded += covered;
        }
        let debt = self.owe((key.1, key.2), excess - funded)?;
        if debt > 0 {
            let mut period = self.need_period((key.1, key.2))?;
            period.granted += debt;
            self.set_period(period);
            let mut allocation = self.opened(key);
            allocation.granted += debt;
            allocation.spent += debt;
            self.set_allocation(allocation);
        }
        Ok((funded, debt))
    }

    /// Makes debt as far as the limit allows. A closed period makes none: its debt has gone on already.
    fn owe(&mut self, key: PeriodKey, wanted: i64) -> Result<i64, Missing> {
        let (limit, mut period) = (self.terms(key.0)?, self.need_period_if(key, wanted > 0)?);
        let Some(period) = period.as_mut() else { return Ok(0) };
        if limit.spec.overage != Overage::AllowWithOverdraft || period.closed {
            return Ok(0);
        }
        let debt = wanted.min(limit.spec.overdraft_limit - period.debt).max(0);
        if debt > 0 {
            period.debt += debt;
            self.set_period(*period);
        }
        Ok(debt)
    }

    fn need_period_if(
        &self,
        key: PeriodKey,
        needed: bool,
    ) -> Result<Option<crate::account::Period>, Missing> {
        if needed { self.need_period(key).map(Some) } else { Ok(None) }
    }

    fn spend(&mut self, key: AllocKey, amount: i64) {
        if amount > 0 {
            let mut allocation = self.opened(key);
            allocation.spent += amount;
            self.set_allocation(allocation);
        }
    }

    /// Writes a charge down: entries, the run's own sums, what nothing funded.
    fn book(&mut self, key: AllocKey, row: &Charged, cause: Cause) -> Result<(), Missing> {
        let parts =
            [(Funding::Funded, row.funded), (Funding::Debt, row.debt), (Funding::Unfunded, row.unfunded)];
        for (funding, amount) in parts.into_iter().filter(|(_, amount)| *amount != 0) {
            self.entries.push(Entry {
                period: (key.1, key.2),
                kind: cause.kind,
                funding: Some(funding),
                amount,
                run: Some(key.0),
                step: Some(cause.step),
                of_settlement: cause.of_settlement,
            });
        }
        if row.unfunded > 0 {
            let mut period = self.need_period((key.1, key.2))?;
            period.unfunded += row.unfunded;
            self.set_period(period);
            self.watch((key.1, key.2), Some(key.0), true)?;
        }
        if row.actual != 0 {
            let closed = Allocation { open: false, ..Allocation::new(key) };
            let mut allocation = self.allocation(key).copied().unwrap_or(closed);
            allocation.used += row.funded + row.debt;
            allocation.unfunded += row.unfunded;
            self.set_allocation(allocation);
        }
        Ok(())
    }

    /// Charges a step that has no active hold straight to its envelopes. `lines` name the envelopes and periods.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn charge_late(
        &mut self,
        run: Key,
        step: (i64, i64),
        lines: &[Line],
        actual: &Amounts,
    ) -> Result<Vec<Charged>, Missing> {
        let mark = self.mark();
        let cause = Cause { kind: EntryKind::LateCharge, step, of_settlement: false };
        let mut charged = Vec::with_capacity(lines.len());
        for line in lines {
            let result = self
                .amount_of(line.envelope, actual)
                .and_then(|amount| self.late_line(run, line, amount, cause));
            match result {
                Ok(row) => charged.push(row),
                Err(missing) => {
                    self.rollback(mark);
                    return Err(missing);
                }
            }
        }
        Ok(charged)
    }

    fn late_line(&mut self, run: Key, line: &Line, actual: i64, cause: Cause) -> Result<Charged, Missing> {
        let period_key = (line.envelope, line.period_start);
        let limit = self.terms(line.envelope)?;
        let mut funded = 0;
        let mut debt = 0;
        if actual > 0 && !line.unfunded && limit.spec.overage != Overage::Reject {
            if self.need_period(period_key)?.available(&limit) < actual {
                self.reclaim(period_key, None, actual)?;
            }
            let mut period = self.need_period(period_key)?;
            funded = period.available(&limit).min(actual);
            period.settled += funded;
            self.set_period(period);
            debt = self.owe(period_key, actual - funded)?;
            if debt > 0 {
                let mut period = self.need_period(period_key)?;
                period.settled += debt;
                self.set_period(period);
            }
        }
        let (envelope, period_start, unfunded) = (line.envelope, line.period_start, actual - funded - debt);
        let row = Charged { envelope, period_start, held: 0, actual, funded, debt, unfunded };
        self.book((run, envelope, period_start), &row, cause)?;
        Ok(row)
    }
}
