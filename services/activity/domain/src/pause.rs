//! Pauses: how long they last, what they end in, when a warning is due.

use contracts_activity::v1::{PauseReason, PauseTimeout};
use runspine_types::Micros;

/// Shortest pause in milliseconds.
pub const MIN_SLA_MS: i64 = 60_000;
/// Longest pause in milliseconds.
pub const MAX_SLA_MS: i64 = 86_400_000;
/// Length of a pause that states none, in milliseconds.
pub const DEFAULT_SLA_MS: i64 = 3_600_000;
/// The warning comes so many milliseconds before the end.
pub const WARN_BEFORE_MS: i64 = 300_000;

/// Whether a pause for `reason` may end in `timeout`: only reasons that a person or the passing of time can resolve may
/// let the run go on by itself.
#[must_use]
pub fn may_end_in(reason: PauseReason, timeout: PauseTimeout) -> bool {
    match timeout {
        PauseTimeout::Unspecified => false,
        PauseTimeout::Terminate | PauseTimeout::Escalate => reason != PauseReason::Unspecified,
        PauseTimeout::Continue => {
            matches!(
                reason,
                PauseReason::BudgetWarning | PauseReason::RateLimitSoft | PauseReason::ManualPause
            )
        }
    }
}

/// An open pause, as far as its clock goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenPause {
    /// When it began.
    pub paused_at: Micros,
    /// When it is over.
    pub deadline: Micros,
    /// Whether the warning was given.
    pub warned: bool,
}

impl OpenPause {
    /// When the warning is due. `None`: it was given, or the pause is shorter than the warning time.
    #[must_use]
    pub fn warn_at(&self) -> Option<Micros> {
        let at = self.deadline.plus_millis(-WARN_BEFORE_MS);
        (!self.warned && at > self.paused_at).then_some(at)
    }
}

/// The earliest deadline and the earliest warning of the open pauses of an attempt.
#[must_use]
pub fn alarms(open: &[OpenPause]) -> (Option<Micros>, Option<Micros>) {
    (open.iter().map(|p| p.deadline).min(), open.iter().filter_map(OpenPause::warn_at).min())
}

/// The deadline of a pause that is extended once: its length once more from its old deadline.
#[must_use]
pub fn extended(pause: &OpenPause) -> Micros {
    Micros(pause.deadline.0.saturating_add(pause.deadline.0 - pause.paused_at.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REASONS: [PauseReason; 6] = [
        PauseReason::PolicyChange,
        PauseReason::BudgetWarning,
        PauseReason::ApprovalRequired,
        PauseReason::RateLimitSoft,
        PauseReason::ManualPause,
        PauseReason::Freeze,
    ];

    #[test]
    fn only_three_reasons_go_on_by_themselves() {
        let going_on: Vec<_> =
            REASONS.into_iter().filter(|&r| may_end_in(r, PauseTimeout::Continue)).collect();
        assert_eq!(
            going_on,
            [PauseReason::BudgetWarning, PauseReason::RateLimitSoft, PauseReason::ManualPause]
        );
        for reason in REASONS {
            assert!(
                may_end_in(reason, PauseTimeout::Terminate) && may_end_in(reason, PauseTimeout::Escalate)
            );
            assert!(!may_end_in(reason, PauseTimeout::Unspecified));
        }
    }

    #[test]
    fn one_warning_at_300_seconds_and_none_for_a_pause_that_is_shorter() {
        let pause =
            |ms, warned| OpenPause { paused_at: Micros(0), deadline: Micros(0).plus_millis(ms), warned };
        assert_eq!(pause(3_600_000, false).warn_at(), Some(Micros(3_300_000_000)));
        assert_eq!(pause(3_600_000, true).warn_at(), None);
        assert_eq!(pause(300_000, false).warn_at(), None);
        assert_eq!(pause(300_001, false).warn_at(), Some(Micros(1_000)));
        let open = [pause(3_600_000, false), pause(60_000, false), pause(600_000, true)];
        assert_eq!(alarms(&open), (Some(Micros(60_000_000)), Some(Micros(3_300_000_000))));
        assert_eq!(alarms(&[]), (None, None));
        assert_eq!(extended(&pause(60_000, true)), Micros(120_000_000));
    }
}
