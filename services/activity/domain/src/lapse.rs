//! When somebody has to look after an attempt, and why.

use contracts_activity::v1::LapseCause;
use runspine_types::Micros;

/// The alarms of an attempt. `None`: that one is off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Alarms {
    /// A stored stop has drained.
    pub stop_at: Option<Micros>,
    /// The running time is over.
    pub timeout_at: Option<Micros>,
    /// The lease lapses.
    pub lease_at: Option<Micros>,
    /// Nobody has claimed it for too long.
    pub orphan_at: Option<Micros>,
    /// The earliest deadline of its open pauses.
    pub pause_at: Option<Micros>,
    /// The earliest warning of its open pauses that was not given yet.
    pub warn_at: Option<Micros>,
}

impl Alarms {
    /// All of them but the lease's, the earliest.
    #[must_use]
    pub fn other_due_at(&self) -> Option<Micros> {
        [self.stop_at, self.timeout_at, self.orphan_at, self.pause_at, self.warn_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// The earliest of all.
    #[must_use]
    pub fn due_at(&self) -> Option<Micros> {
        self.other_due_at().into_iter().chain(self.lease_at).min()
    }

    /// The strongest cause that is true at `now`, with the time since when.
    #[must_use]
    pub fn cause(&self, now: Micros) -> Option<(LapseCause, Micros)> {
        let alarms = [
            (LapseCause::StopDrained, self.stop_at),
            (LapseCause::TimedOut, self.timeout_at),
            (LapseCause::LeaseLapsed, self.lease_at),
            (LapseCause::Orphaned, self.orphan_at),
            (LapseCause::PauseExpired, self.pause_at),
            (LapseCause::PauseExpiring, self.warn_at),
        ];
        alarms.into_iter().find_map(|(cause, at)| at.filter(|&at| at <= now).map(|at| (cause, at)))
    }
}

/// Whether a claim for `cause` takes the attempt from its holder.
#[must_use]
pub fn takes_over(cause: LapseCause) -> bool {
    cause != LapseCause::PauseExpiring
}

/// Whether `cause` means that nobody drives the run.
#[must_use]
pub fn is_stale(cause: LapseCause) -> bool {
    matches!(cause, LapseCause::LeaseLapsed | LapseCause::Orphaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_true_cause_wins_and_the_earliest_alarm_wakes() {
        let t = |n| Some(Micros(n));
        let all = Alarms {
            stop_at: t(60),
            timeout_at: t(50),
            lease_at: t(40),
            orphan_at: t(30),
            pause_at: t(20),
            warn_at: t(10),
        };
        assert_eq!((all.due_at(), all.other_due_at()), (t(10), t(10)));
        assert_eq!(all.cause(Micros(9)), None);
        let expected = [
            (10, LapseCause::PauseExpiring),
            (20, LapseCause::PauseExpired),
            (30, LapseCause::Orphaned),
            (40, LapseCause::LeaseLapsed),
            (50, LapseCause::TimedOut),
            (60, LapseCause::StopDrained),
        ];
        for (now, cause) in expected {
            assert_eq!(all.cause(Micros(now)), Some((cause, Micros(now))));
        }
        let lease_only = Alarms { lease_at: t(5), ..Alarms::default() };
        assert_eq!((lease_only.due_at(), lease_only.other_due_at()), (t(5), None));
        assert_eq!(Alarms::default().due_at(), None);
    }

    #[test]
    fn a_warning_takes_nothing_over() {
        assert!(!takes_over(LapseCause::PauseExpiring) && takes_over(LapseCause::PauseExpired));
        assert!(is_stale(LapseCause::Orphaned) && !is_stale(LapseCause::TimedOut));
    }
}
