//! The life of a back-test, and what one may ask for.

use runspine_errors::{Fault, Violations, mesh};

use crate::{reasons, words::BacktestState};

/// The longest range, in microseconds: 31 days.
pub const MAX_RANGE: i64 = 31 * 24 * 60 * 60 * 1_000_000;
/// The most decisions of one back-test.
pub const MAX_DECISIONS: u64 = 1_000_000;
/// The most back-tests of a tenant that are not done.
pub const MAX_OPEN: u64 = 2;
/// The most agents, and the most runs, that a range names.
pub const MAX_NAMES: usize = 100;

/// What moves a back-test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A worker takes it, or takes it over.
    Claim,
    /// Every decision was looked at and the self-check passed.
    Complete,
    /// Every decision was looked at and the self-check failed.
    Distrust,
    /// It can't be done.
    Fail,
    /// Somebody ends it.
    Cancel,
}

impl Act {
    /// Every act.
    pub const ALL: [Self; 5] = [Self::Claim, Self::Complete, Self::Distrust, Self::Fail, Self::Cancel];
}

/// The state after an act, or `None` when the act is illegal there.
#[must_use]
pub const fn next_state(from: BacktestState, act: Act) -> Option<BacktestState> {
    match (from, act) {
        (BacktestState::Queued | BacktestState::Running, Act::Claim) => Some(BacktestState::Running),
        (BacktestState::Queued | BacktestState::Running, Act::Cancel) => Some(BacktestState::Cancelled),
        (BacktestState::Running, Act::Complete) => Some(BacktestState::Completed),
        (BacktestState::Running, Act::Distrust) => Some(BacktestState::Invalid),
        (BacktestState::Running, Act::Fail) => Some(BacktestState::Failed),
        _ => None,
    }
}

/// Whether nothing can happen to it any more.
#[must_use]
pub const fn is_over(state: BacktestState) -> bool {
    !matches!(state, BacktestState::Queued | BacktestState::Running)
}

/// Which decisions are replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Range {
    /// Only runs of these agents; empty: all.
    pub agents: Vec<String>,
    /// Only these runs; empty: all.
    pub runs: Vec<String>,
    /// Runs bound from then on, microseconds.
    pub since: i64,
    /// Runs bound and decisions made before, microseconds.
    pub until: i64,
}

impl Range {
    /// Checks a range that somebody asks for at `now`.
    ///
    /// # Errors
    /// WINDOW_INVALID; FIELD_INVALID for too many names.
    pub fn check(&self, now: i64) -> Result<(), Fault> {
        let mut v = Violations::new();
        let fits =
            |names: &[String]| names.len() <= MAX_NAMES && names.iter().all(|n| (1..=128).contains(&n.len()));
        v.require(fits(&self.agents), "agent_ids", "OUT_OF_RANGE", "at most 100 of 1 to 128 characters");
        v.require(fits(&self.runs), "run_ids", "OUT_OF_RANGE", "at most 100 of 1 to 128 characters");
        v.into_result(&mesh::FIELD_INVALID)?;
        let found = if self.since >= self.until {
            ("until", "must be after since")
        } else if self.until > now {
            ("until", "must not be in the future: what is decided later would change the report")
        } else if self.until.saturating_sub(self.since) > MAX_RANGE {
            ("since", "at most 31 days before until")
        } else {
            return Ok(());
        };
        Err(Fault::new(&reasons::WINDOW_INVALID, format!("{} {}", found.0, found.1)).field(
            found.0,
            "WINDOW_INVALID",
            found.1,
        ))
    }
}

/// How far apart decisions stand that are decided again under their own snapshot: 1 %, at least 100 of them.
#[must_use]
pub const fn self_check_stride(total: u64) -> u64 {
    let stride = total / 100;
    if stride == 0 {
        1
    } else if stride > 100 {
        100
    } else {
        stride
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtest_moves_only_as_the_table_says() {
        let moves: Vec<_> = BacktestState::ALL
            .iter()
            .flat_map(|s| Act::ALL.iter().map(move |a| (*s, *a)))
            .filter_map(|(s, a)| next_state(s, a).map(|n| (s, a, n)))
            .collect();
        assert_eq!(moves.len(), 7, "{moves:?}");
        assert!(moves.iter().all(|(s, ..)| !is_over(*s)));
        let ends: Vec<_> = BacktestState::ALL.iter().filter(|s| is_over(**s)).collect();
        assert_eq!(ends.len(), 4);
    }

    #[test]
    fn one_percent_is_checked_and_at_least_a_hundred() {
        for total in [1_u64, 99, 100, 101, 199, 5_000, 10_000, 12_345, 1_000_000] {
            let checked = total.div_ceil(self_check_stride(total));
            assert!(checked >= total.min(100) && checked * 100 >= total, "{total}: {checked}");
        }
        assert_eq!(self_check_stride(1_000_000), 100);
    }

    #[test]
    fn a_range_is_past_and_at_most_a_month() {
        let range = |since, until| Range { since, until, ..Range::default() };
        assert!(range(0, MAX_RANGE).check(MAX_RANGE).is_ok());
        for (since, until, now) in [(5, 5, 9), (0, 10, 9), (0, MAX_RANGE + 1, i64::MAX)] {
            let fault = range(since, until).check(now).unwrap_err();
            assert!(fault.is(&reasons::WINDOW_INVALID));
        }
        let many = Range { agents: vec!["a".into(); 101], until: 1, ..Range::default() };
        assert!(many.check(1).unwrap_err().is(&mesh::FIELD_INVALID));
    }
}
