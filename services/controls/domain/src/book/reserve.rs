//! Reserve: all envelopes of a step, or none.

use runspine_types::Micros;

use super::{Book, Missing};
use crate::{hold::Line, limit::Key};

/// How a refusal of an envelope is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waive {
    /// Nothing is held, the actual is funded by the overage rule: the limit does not block.
    Uncovered,
    /// Nothing is held and nothing will be funded: the profile only observes.
    Unfunded,
}

/// What a step needs of one envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The envelope.
    pub envelope: Key,
    /// How much, at least 0.
    pub amount: i64,
    /// Set: nothing is reserved here.
    pub waive: Option<Waive>,
}

/// An envelope that can't give what a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The envelope.
    pub envelope: Key,
    /// Begin of the period.
    pub period_start: Micros,
    /// How much was needed.
    pub need: i64,
    /// What the run could have got, with all idle escrow of others: less than `need`.
    pub reservable: i64,
    /// Booked use.
    pub usage: i64,
    /// L.
    pub limit_value: i64,
    /// Whether debt stands in the way.
    pub in_debt: bool,
}

/// The answer of a reserve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reserved {
    /// One line for each need, in the same order.
    Held(Vec<Line>),
    /// Every envelope that refuses; nothing was changed.
    Refused(Vec<Refusal>),
}

/// What a reserve leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// The hold.
    Hold,
    /// Escrow, and nothing is held.
    Open,
    /// Nothing.
    Probe,
}

impl Book {
    /// Holds what a step needs in every envelope, or nothing. `needs` are in ascending order of their envelopes.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn reserve(&mut self, run: Key, needs: &[Need], now: Micros) -> Result<Reserved, Missing> {
        self.all_or_none(run, needs, now, Mode::Hold)
    }

    /// Whether a reserve could be done: the same answer, and nothing is changed.
    ///
    /// # Errors
    /// What has to be loaded first.
    pub fn probe(&mut self, run: Key, needs: &[Need], now: Micros) -> Result<Reserved, Missing> {
        self.all_or_none(run, needs, now, Mode::Probe)
    }

    /// Gives a run its first chunks, without holding anything: every need could be held then.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn open(&mut self, run: Key, needs: &[Need], now: Micros) -> Result<Reserved, Missing> {
        self.all_or_none(run, needs, now, Mode::Open)
    }

    fn all_or_none(
        &mut self,
        run: Key,
        needs: &[Need],
        now: Micros,
        mode: Mode,
    ) -> Result<Reserved, Missing> {
        let mark = self.mark();
        let mut lines = Vec::with_capacity(needs.len());
        let mut refused = Vec::new();
        for need in needs {
            match self.reserve_one(run, need, now, mode == Mode::Hold) {
                Ok(Ok(line)) => lines.push(line),
                Ok(Err(refusal)) => refused.push(refusal),
                Err(missing) => {
                    self.rollback(mark);
                    return Err(missing);
                }
            }
        }
        if !refused.is_empty() || mode == Mode::Probe {
            self.rollback(mark);
        }
        Ok(if refused.is_empty() { Reserved::Held(lines) } else { Reserved::Refused(refused) })
    }

    fn reserve_one(
        &mut self,
        run: Key,
        need: &Need,
        now: Micros,
        hold: bool,
    ) -> Result<Result<Line, Refusal>, Missing> {
        let period = self.current(need.envelope, now)?;
        let key = (run, need.envelope, period.1);
        let unfunded = need.waive == Some(Waive::Unfunded);
        let line = Line { envelope: need.envelope, period_start: period.1, amount: need.amount, unfunded };
        if need.waive.is_some() {
            self.opened(key);
            return Ok(Ok(Line { amount: 0, ..line }));
        }
        let short = need.amount - self.opened(key).free();
        if short > 0 && self.cover(key, short, true)? < short {
            return Ok(Err(self.refusal(key, need.amount)?));
        }
        if hold && need.amount > 0 {
            let mut allocation = self.opened(key);
            allocation.held += need.amount;
            self.set_allocation(allocation);
        }
        Ok(Ok(line))
    }

    pub(super) fn refusal(&mut self, key: (Key, Key, Micros), need: i64) -> Result<Refusal, Missing> {
        let period_key = (key.1, key.2);
        let (limit, period) = (self.terms(key.1)?, self.need_period(period_key)?);
        Ok(Refusal {
            envelope: key.1,
            period_start: key.2,
            need,
            reservable: self.opened(key).free() + period.available(&limit),
            usage: self.usage(period_key),
            limit_value: period.limit_value(&limit),
            in_debt: period.debt > 0,
        })
    }

    /// Records that an envelope refused because nothing is left: said once in a period.
    ///
    /// # Errors
    /// What has to be loaded first; nothing was changed.
    pub fn exhausted(&mut self, refusal: &Refusal, run: Key) -> Result<(), Missing> {
        self.mark();
        let period = self.current_of(refusal)?;
        self.watch(period, Some(run), refusal.reservable == 0)
    }

    /// A refusal may be of a period that its own call began and that went with it: it begins again then.
    fn current_of(&mut self, refusal: &Refusal) -> Result<(Key, Micros), Missing> {
        let key = (refusal.envelope, refusal.period_start);
        if self.period(key).is_some() { Ok(key) } else { self.current(key.0, key.1) }
    }
}
