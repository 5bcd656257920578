//! A hold and its states.

use runspine_errors::Fault;
use runspine_types::Micros;

use crate::{
    estimate::Amounts,
    limit::Key,
    reasons,
    words::{EstimateSource, HoldState, ReleaseReason},
};

/// How often a hold can be extended.
pub const MAX_EXTENSIONS: u32 = 16;
/// The ask of a row that was never reserved: a step that was recorded without a hold.
pub const UNRESERVED_ASK: i64 = -1;

/// Run, step and ask.
pub type HoldKey = (Key, i64, i64);

/// What a hold takes from one envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    /// The envelope.
    pub envelope: Key,
    /// Begin of the period that it was reserved in and is settled in.
    pub period_start: Micros,
    /// What is held.
    pub amount: i64,
    /// Nothing is held and the whole actual will be unfunded.
    pub unfunded: bool,
}

/// Amounts reserved for one step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Hold {
    pub key: HoldKey,
    pub id: String,
    pub state: HoldState,
    pub amounts: Amounts,
    pub source: EstimateSource,
    pub extensions: u32,
    pub ambiguous: bool,
    pub released_for: Option<ReleaseReason>,
    pub lines: Vec<Line>,
}

/// What can happen to a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldEvent {
    /// More is needed.
    Extend,
    /// The actual amounts are known.
    Settle,
    /// It is given back by order.
    Release,
    /// The run's lease lapsed.
    Expire,
}

/// The state table: what an event makes of a state; `None`: the event changes nothing there.
#[must_use]
pub fn next(state: HoldState, event: HoldEvent) -> Option<HoldState> {
    match (state, event) {
        (HoldState::Active, HoldEvent::Extend) => Some(HoldState::Active),
        (HoldState::Active, HoldEvent::Settle) => Some(HoldState::Settled),
        (HoldState::Active, HoldEvent::Release) => Some(HoldState::Released),
        (HoldState::Active, HoldEvent::Expire) => Some(HoldState::Expired),
        (HoldState::Settled | HoldState::Released | HoldState::Expired, _) => None,
    }
}

impl Hold {
    /// Whether it can be extended as its extension number `ask`.
    ///
    /// # Errors
    /// `HOLD_FINALIZED`, `HOLD_EXPIRED`, `EXTENSIONS_EXCEEDED`.
    pub fn extendable(&self) -> Result<(), Fault> {
        let subject = format!("holds/{}", self.id);
        let refuse = |reason, text: &str| Err(Fault::new(reason, text).precondition(&subject, text));
        match self.state {
            HoldState::Expired => refuse(&reasons::HOLD_EXPIRED, "the hold expired with its run's lease"),
            HoldState::Settled | HoldState::Released => {
                refuse(&reasons::HOLD_FINALIZED, "the hold is settled or released")
            }
            HoldState::Active if self.extensions >= MAX_EXTENSIONS => {
                refuse(&reasons::EXTENSIONS_EXCEEDED, "the hold was extended 16 times")
            }
            HoldState::Active => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_states_are_terminal_and_exclusive() {
        let events = [HoldEvent::Extend, HoldEvent::Settle, HoldEvent::Release, HoldEvent::Expire];
        for state in HoldState::ALL {
            for event in events {
                let reached = next(*state, event);
                assert_eq!(reached.is_some(), *state == HoldState::Active, "{state:?} {event:?}");
            }
        }
        let ends: Vec<_> = events.iter().filter_map(|e| next(HoldState::Active, *e)).collect();
        assert_eq!(ends, [HoldState::Active, HoldState::Settled, HoldState::Released, HoldState::Expired]);
    }
}
