//! Ends: of a hold, of a run's account, of a period, and of a settlement.

use runspine_types::Micros;

use super::{Book, Missing};
use crate::{
    account::{AllocKey, Allocation, Entry, PeriodKey},
    hold::{Hold, HoldEvent, next},
    limit::{Key, scale},
    words::{EntryKind, Funding, HoldState, ReleaseReason},
};

impl Book {
    /// Gives an active hold back. No envelope is touched: the escrow stays with the run.
    pub fn release(&mut self, hold: &mut Hold, reason: ReleaseReason) {
        if self.drop_lines(hold, HoldEvent::Release) {
            hold.released_for = Some(reason);
        }
    }

    /// Ends an active hold because the run's lease lapsed.
    pub fn expire(&mut self, hold: &mut Hold) {
        self.drop_lines(hold, HoldEvent::Expire);
    }

    fn drop_lines(&mut self, hold: &mut Hold, event: HoldEvent) -> bool {
        let Some(state) = next(hold.state, event) else { return false };
        for line in hold.lines.iter().filter(|line| line.amount > 0) {
            let mut allocation = self.opened((hold.key.0, line.envelope, line.period_start));
            allocation.held -= line.amount;
            self.set_allocation(allocation);
        }
        hold.state = state;
        true
    }

    /// Ends a run's account: active holds are released, ambiguous ones as their envelopes want; what was spent is
    /// booked and the escrow goes back.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn settle_run(&mut self, run: Key, holds: &mut [Hold]) -> Result<(), Missing> {
        let mark = self.mark();
        let before = holds.to_vec();
        let result = self.end_holds(holds).and_then(|()| self.close_all(run));
        if result.is_err() {
            self.rollback(mark);
            holds.clone_from_slice(&before);
        }
        result
    }

    fn end_holds(&mut self, holds: &mut [Hold]) -> Result<(), Missing> {
        for hold in holds.iter_mut().filter(|h| h.state == HoldState::Active) {
            if hold.ambiguous {
                self.settle_ambiguous(hold)?;
            } else {
                self.release(hold, ReleaseReason::RunEnded);
            }
        }
        Ok(())
    }

    /// Ends the account of a run whose lease lapsed.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn lapse(&mut self, run: Key, holds: &mut [Hold]) -> Result<(), Missing> {
        let mark = self.mark();
        let before = holds.to_vec();
        for hold in holds.iter_mut() {
            self.expire(hold);
        }
        let result = self.close_all(run);
        if result.is_err() {
            self.rollback(mark);
            holds.clone_from_slice(&before);
        }
        result
    }

    fn close_all(&mut self, run: Key) -> Result<(), Missing> {
        for key in self.open_keys(run) {
            self.close_allocation(key)?;
        }
        Ok(())
    }

    fn open_keys(&self, run: Key) -> Vec<AllocKey> {
        self.allocations_of(run).filter(|a| a.open).map(|a| a.key).collect()
    }

    /// Books what was spent, gives back what is free, and closes when nothing is held.
    fn close_allocation(&mut self, key: AllocKey) -> Result<(), Missing> {
        self.checkpoint(key)?;
        self.give_back(key)?;
        match self.allocation(key).copied() {
            Some(allocation) if allocation.open && allocation.held == 0 => {
                self.set_allocation(Allocation { open: false, ..allocation });
            }
            _ => {}
        }
        Ok(())
    }

    /// Gives a waiting or paused run's free escrow back; its holds stay.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn return_free(&mut self, run: Key) -> Result<(), Missing> {
        let mark = self.mark();
        for key in self.open_keys(run) {
            if let Err(missing) = self.give_back(key) {
                self.rollback(mark);
                return Err(missing);
            }
        }
        Ok(())
    }

    /// Closes a period for the one that begins at `next_start`: free escrow returns, and what is left and owed goes on.
    /// Answers with what goes on: (rollover, debt). A period between that nobody used passes neither on.
    pub(super) fn close_period(&mut self, key: PeriodKey, next_start: Micros) -> Result<(i64, i64), Missing> {
        self.need_period(key)?;
        if !self.complete.contains(&key) {
            return Err(Missing::Allocations(key));
        }
        let open: Vec<AllocKey> = self.allocations_in(key).filter(|a| a.open).map(|a| a.key).collect();
        for allocation in open {
            self.close_allocation(allocation)?;
        }
        let limit = self.terms(key.0)?;
        let mut period = self.need_period(key)?;
        let cap = if limit.spec.rollover {
            scale(limit.spec.max_value, limit.spec.rollover_max_permille)
        } else {
            0
        };
        let own = limit.spec.max_value + period.adjusted - period.debt_in;
        // What was rolled in is used first, and never goes on a second time.
        let used = (period.settled + period.granted - period.rollover_in).max(0);
        let follows = period.end == Some(next_start);
        let (rolled, owed) = if follows {
            ((own - used).clamp(0, cap), period.debt)
        } else {
            (cap.min(limit.spec.max_value), 0)
        };
        period.closed = true;
        period.rolled_out = if follows { rolled } else { 0 };
        self.set_period(period);
        Ok((rolled, owed))
    }

    /// Takes a settlement's own estimated charges back. What steps really cost stays.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn reverse(&mut self, charges: &[(AllocKey, Funding, i64)]) -> Result<(), Missing> {
        let mark = self.mark();
        for (key, funding, amount) in charges {
            if let Err(missing) = self.reverse_one(*key, *funding, *amount) {
                self.rollback(mark);
                return Err(missing);
            }
        }
        Ok(())
    }

    fn reverse_one(&mut self, key: AllocKey, funding: Funding, amount: i64) -> Result<(), Missing> {
        let period_key = (key.1, key.2);
        let mut period = self.need_period(period_key)?;
        let mut allocation = self.allocation(key).copied().unwrap_or(Allocation::new(key));
        if funding == Funding::Unfunded {
            period.unfunded -= amount;
            allocation.unfunded -= amount;
        } else {
            period.settled -= amount;
            allocation.used -= amount;
        }
        self.set_period(period);
        self.set_allocation(allocation);
        self.entries.push(Entry {
            period: period_key,
            kind: EntryKind::Reversal,
            funding: Some(funding),
            amount,
            run: Some(key.0),
            step: None,
            of_settlement: true,
        });
        self.repay(period_key)
    }

    /// Adjusts a period by order. What it makes available pays debt first; what it takes is never clawed back.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn adjust(&mut self, key: PeriodKey, amount: i64) -> Result<(), Missing> {
        self.mark();
        let mut period = self.need_period(key)?;
        self.terms(key.0)?;
        period.adjusted += amount;
        self.set_period(period);
        self.record(key, EntryKind::Adjust, None, amount);
        self.repay(key)?;
        self.watch(key, None, false)
    }

    /// Pays the debt of a period after its limit was raised.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn limit_changed(&mut self, key: PeriodKey) -> Result<(), Missing> {
        self.mark();
        self.repay(key)?;
        self.watch(key, None, false)
    }

    /// Makes a hold larger: the same as a reserve of the extra amounts.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn extend(
        &mut self,
        hold: &Hold,
        extra: &crate::estimate::Amounts,
    ) -> Result<super::Reserved, Missing> {
        let mark = self.mark();
        let mut refused = Vec::new();
        let mut lines = Vec::with_capacity(hold.lines.len());
        for line in &hold.lines {
            match self.extend_line(hold.key.0, line, extra) {
                Ok(Ok(line)) => lines.push(line),
                Ok(Err(refusal)) => refused.push(refusal),
                Err(missing) => {
                    self.rollback(mark);
                    return Err(missing);
                }
            }
        }
        if refused.is_empty() {
            return Ok(super::Reserved::Held(lines));
        }
        self.rollback(mark);
        Ok(super::Reserved::Refused(refused))
    }

    fn extend_line(
        &mut self,
        run: Key,
        line: &crate::hold::Line,
        extra: &crate::estimate::Amounts,
    ) -> Result<Result<crate::hold::Line, super::Refusal>, Missing> {
        let amount = extra.of(self.terms(line.envelope)?.spec.unit);
        if line.unfunded || amount <= 0 {
            return Ok(Ok(*line));
        }
        let key = (run, line.envelope, line.period_start);
        let short = amount - self.opened(key).free();
        if short > 0 && self.cover(key, short, true)? < short {
            return Ok(Err(self.refusal(key, amount)?));
        }
        let mut allocation = self.opened(key);
        allocation.held += amount;
        self.set_allocation(allocation);
        Ok(Ok(crate::hold::Line { amount: line.amount + amount, ..*line }))
    }
}
