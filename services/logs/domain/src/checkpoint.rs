//! When a log gets a checkpoint.

use std::time::Duration;

use runspine_types::Micros;

/// Microseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// How often checkpoints are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cadence {
    /// Entries that no checkpoint covers, at most.
    pub entries: u64,
    /// Age of the oldest entry that no checkpoint covers, at most.
    pub age: Duration,
}

/// What of a log no checkpoint covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncovered {
    /// Entries.
    pub entries: u64,
    /// When the oldest was recorded.
    pub since: Micros,
}

impl Cadence {
    /// Whether a checkpoint is due: enough is new, or something has been new for long enough, or a day (UTC) ended since
    /// something became new.
    #[must_use]
    pub fn due(&self, uncovered: Uncovered, now: Micros) -> bool {
        if uncovered.entries == 0 {
            return false;
        }
        let age = i64::try_from(self.age.as_micros()).unwrap_or(i64::MAX);
        uncovered.entries >= self.entries
            || now.0.saturating_sub(uncovered.since.0) >= age
            || now.0.div_euclid(DAY) > uncovered.since.0.div_euclid(DAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_by_count_by_age_and_at_midnight() {
        let cadence = Cadence { entries: 1_000, age: Duration::from_secs(60) };
        let noon = Micros(DAY * 20_000 + DAY / 2);
        let cases = [
            (0, 0, noon, false),
            (1, 59_999_999, noon, false),
            (1, 60_000_000, noon, true),
            (999, 1, noon, false),
            (1_000, 1, noon, true),
            (1, 2, Micros(DAY * 20_000 + 1), true),
            (1, 1, Micros(DAY * 20_000 + 1), false),
        ];
        for (entries, age, now, due) in cases {
            let uncovered = Uncovered { entries, since: Micros(now.0 - age) };
            assert_eq!(cadence.due(uncovered, now), due, "{entries} entries, {age} µs");
        }
    }
}
