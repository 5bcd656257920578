//! When something is due.

use std::time::Duration;

use contracts_common::common::v1::RunPhase;
use runspine_types::Micros;

use super::{Contract, Deadline, Expectation};

/// How long a contract with an intent may stand still before the reconciler looks at it: whoever wrote the intent is
/// then gone or stuck. Shorter than the 5 s within which the actions behind the intent are due, so that a completion whose
/// caller never comes back is driven before it is late.
pub const QUIET_AFTER_INTENT: Duration = Duration::from_secs(2);

impl Contract {
    /// When an expectation is due; `None` when its clock has not started, is suspended, or has no length.
    #[must_use]
    pub fn due_at(&self, expectation: &Expectation) -> Option<Micros> {
        match expectation.moved {
            Some(Deadline::Suspended) => None,
            Some(Deadline::At(at)) => Some(at),
            None => self.original_due(expectation),
        }
    }

    /// When it would be due had nobody moved the deadline.
    #[must_use]
    pub fn original_due(&self, expectation: &Expectation) -> Option<Micros> {
        if expectation.deadline_ms == 0 {
            return None;
        }
        let start = match expectation.due_phase {
            RunPhase::GovernanceCheck => self.completion_at,
            RunPhase::Finalizing => self.finalizing_at,
            _ => self.declared_at,
        }?;
        Some(start.plus_millis(i64::try_from(expectation.deadline_ms).unwrap_or(i64::MAX)))
    }

    /// The soonest moment at which something is overdue: the earliest deadline of what nobody acknowledged, and while
    /// an intent is not carried out, [`QUIET_AFTER_INTENT`] after the last entry. `None` for a closed contract.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Micros> {
        if self.closed {
            return None;
        }
        let open = self.expectations.iter().filter(|e| self.latest_ack(&e.domain, &e.action).is_none());
        let due = open.filter_map(|e| self.due_at(e)).min();
        let quiet = (!self.intents.is_empty()).then(|| self.last_recorded_at + QUIET_AFTER_INTENT);
        due.into_iter().chain(quiet).min()
    }

    /// What is overdue at `now`, in order of declaration.
    pub fn overdue(&self, now: Micros) -> impl Iterator<Item = &Expectation> {
        self.expectations.iter().filter(move |e| {
            self.latest_ack(&e.domain, &e.action).is_none() && self.due_at(e).is_some_and(|due| due <= now)
        })
    }
}
