//! The states of an approval as one table, and what time alone does to it.

use runspine_types::Micros;

use super::Terms;
use crate::words::{ApprovalLevel, ApprovalState};

/// What happens to an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Nobody of the level decided in time, or a person asked the next level.
    Escalate,
    /// The last needed vote.
    Approve,
    /// One vote against it.
    Reject,
    /// No decision in time.
    Expire,
    /// No use in time.
    Lapse,
    /// A decision spent it.
    Use,
    /// The run ended, or its snapshot was recalled.
    Cancel,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 7] =
        [Self::Escalate, Self::Approve, Self::Reject, Self::Expire, Self::Lapse, Self::Use, Self::Cancel];
}

/// Where an event leads; `None`: it can't happen there.
#[must_use]
pub const fn next(state: ApprovalState, event: Event) -> Option<ApprovalState> {
    use ApprovalState as S;
    Some(match (state, event) {
        (S::Pending | S::Escalated, Event::Escalate) => S::Escalated,
        (S::Pending | S::Escalated, Event::Approve) => S::Approved,
        (S::Pending | S::Escalated, Event::Reject) => S::Rejected,
        (S::Pending | S::Escalated, Event::Expire) => S::Expired,
        (S::Approved, Event::Use) => S::Used,
        (S::Approved, Event::Lapse) => S::Lapsed,
        (S::Pending | S::Escalated | S::Approved, Event::Cancel) => S::Cancelled,
        _ => return None,
    })
}

impl ApprovalState {
    /// Whether votes are taken.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Escalated)
    }

    /// Whether nothing can happen to it any more.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Pending | Self::Escalated | Self::Approved)
    }
}

/// The part of an approval that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Approval {
    /// Where it stands.
    pub state: ApprovalState,
    /// The least level of a voter now.
    pub level: ApprovalLevel,
    /// How often it was escalated.
    pub escalations: u32,
    /// When the next level is asked.
    pub escalates_at: Micros,
    /// Until when votes are taken.
    pub expires_at: Micros,
    /// Until when it may be used; none: not approved.
    pub use_by: Option<Micros>,
    /// How long it may be used after the last needed vote, seconds.
    pub use_within_s: i64,
    /// How long a level is waited for before the next one is asked, seconds.
    pub escalates_s: i64,
}

const fn after(from: Micros, seconds: i64) -> Micros {
    Micros(from.0 + seconds * 1_000_000)
}

impl Approval {
    /// A new request.
    #[must_use]
    pub const fn requested(terms: &Terms, now: Micros) -> Self {
        Self {
            state: ApprovalState::Pending,
            level: terms.level,
            escalations: 0,
            escalates_at: after(now, terms.escalates_s),
            expires_at: after(now, terms.expires_s),
            use_by: None,
            use_within_s: terms.use_within_s,
            escalates_s: terms.escalates_s,
        }
    }

    /// Whether a higher level could be asked. SELF asks one person, and nobody stands above that person in this.
    #[must_use]
    pub const fn can_escalate(&self) -> bool {
        self.state.is_open() && !matches!(self.level, ApprovalLevel::OneSelf | ApprovalLevel::Owner)
    }

    /// The same with the next level asked, at `now`.
    #[must_use]
    pub fn escalated(self, now: Micros) -> Self {
        Self {
            state: ApprovalState::Escalated,
            level: ApprovalLevel::from_code(self.level.code() + 1).unwrap_or(ApprovalLevel::Owner),
            escalations: self.escalations + 1,
            escalates_at: after(now, self.escalates_s),
            ..self
        }
    }

    /// The same after the last needed vote, at `now`.
    #[must_use]
    pub const fn approved(self, now: Micros) -> Self {
        Self { state: ApprovalState::Approved, use_by: Some(after(now, self.use_within_s)), ..self }
    }

    /// What time alone has made of it by `now`: who reads it before the worker came sees the same.
    #[must_use]
    pub fn at(self, now: Micros) -> Self {
        let mut it = self;
        while let Some((due, event)) = it.due().filter(|(due, _)| *due <= now) {
            it = match event {
                Event::Escalate => it.escalated(due),
                Event::Expire => Self { state: ApprovalState::Expired, ..it },
                _ => Self { state: ApprovalState::Lapsed, ..it },
            };
        }
        it
    }

    /// When time does the next thing to it, and what.
    #[must_use]
    pub fn due(&self) -> Option<(Micros, Event)> {
        match self.state {
            ApprovalState::Approved => self.use_by.map(|at| (at, Event::Lapse)),
            state if state.is_open() && self.can_escalate() && self.escalates_at < self.expires_at => {
                Some((self.escalates_at, Event::Escalate))
            }
            state if state.is_open() => Some((self.expires_at, Event::Expire)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Defaults, *};
    use ApprovalState as S;

    #[test]
    fn every_state_and_event() {
        let mut moves = Vec::new();
        for state in S::ALL {
            for event in Event::ALL {
                if let Some(to) = next(*state, event) {
                    moves.push((*state, event, to));
                    assert!(!state.is_terminal());
                }
            }
        }
        let mut expected = Vec::new();
        for open in [S::Pending, S::Escalated] {
            expected.push((open, Event::Escalate, S::Escalated));
            expected.push((open, Event::Approve, S::Approved));
            expected.push((open, Event::Reject, S::Rejected));
            expected.push((open, Event::Expire, S::Expired));
            expected.push((open, Event::Cancel, S::Cancelled));
        }
        expected.push((S::Approved, Event::Lapse, S::Lapsed));
        expected.push((S::Approved, Event::Use, S::Used));
        expected.push((S::Approved, Event::Cancel, S::Cancelled));
        assert_eq!(moves, expected);
    }

    #[test]
    fn time_asks_higher_levels_and_then_ends_it() {
        let s = |n: i64| Micros(n * 1_000_000);
        let terms = Terms::from(Defaults::default());
        let new = Approval::requested(&terms, s(0));
        let at = |n: i64| new.at(s(n));
        assert_eq!((at(299).state, at(299).level), (S::Pending, ApprovalLevel::TeamLead));
        assert_eq!(
            (at(300).state, at(300).level, at(300).escalations),
            (S::Escalated, ApprovalLevel::Manager, 1)
        );
        assert_eq!((at(600).level, at(600).escalations), (ApprovalLevel::Owner, 2));
        assert_eq!((at(3_599).level, at(3_599).escalations), (ApprovalLevel::Owner, 2));
        assert_eq!(at(3_600).state, S::Expired);
        // The same whether somebody looked in between or not.
        for n in [0, 299, 300, 601, 3_599, 3_600, 9_000] {
            assert_eq!(at(n / 2).at(s(n)), at(n), "{n}");
        }
        let own = Terms { level: ApprovalLevel::OneSelf, expires_s: 600, ..terms };
        let own = Approval::requested(&own, s(0));
        assert_eq!((own.at(s(599)).level, own.at(s(600)).state), (ApprovalLevel::OneSelf, S::Expired));
        let approved = new.approved(s(10));
        assert_eq!((approved.at(s(909)).state, approved.at(s(910)).state), (S::Approved, S::Lapsed));
        assert_eq!(approved.at(s(910)).due(), None);
    }
}
