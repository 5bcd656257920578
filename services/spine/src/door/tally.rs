//! Calls of the last 24 hours by operation and code.

use std::collections::HashMap;

use parking_lot::Mutex;
use runspine_types::Micros;

const HOURS: usize = 24;
const CODES: usize = 17;
const HOUR_US: i64 = 3_600_000_000;

/// Hourly counts, the oldest overwritten by the newest.
#[derive(Debug, Default)]
pub(super) struct Tally {
    operations: HashMap<String, Mutex<Day>>,
}

#[derive(Debug, Clone)]
struct Day {
    hours: [Hour; HOURS],
}

#[derive(Debug, Clone, Copy, Default)]
struct Hour {
    /// Hours since the epoch.
    at: i64,
    codes: [u32; CODES],
}

impl Default for Day {
    fn default() -> Self {
        Self { hours: [Hour::default(); HOURS] }
    }
}

impl Tally {
    /// Counts for these operations.
    pub fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self { operations: names.map(|name| (name.to_owned(), Mutex::default())).collect() }
    }

    pub fn count(&self, operation: &str, code: i32, now: Micros) {
        let (Some(day), Ok(code)) = (self.operations.get(operation), usize::try_from(code)) else { return };
        let at = now.0.div_euclid(HOUR_US);
        let place = usize::try_from(at.rem_euclid(HOURS as i64)).unwrap_or(0);
        let mut day = day.lock();
        let hour = &mut day.hours[place];
        if hour.at != at {
            *hour = Hour { at, codes: [0; CODES] };
        }
        let counter = &mut hour.codes[code.min(CODES - 1)];
        *counter = counter.saturating_add(1);
    }

    /// Code and calls, codes without a call left out.
    pub fn last_day(&self, operation: &str, now: Micros) -> Vec<(i32, i64)> {
        let Some(day) = self.operations.get(operation) else { return Vec::new() };
        let newest = now.0.div_euclid(HOUR_US);
        let day = day.lock();
        let live = day.hours.iter().filter(|hour| (newest - HOURS as i64 + 1..=newest).contains(&hour.at));
        let mut sums = [0i64; CODES];
        for hour in live {
            sums.iter_mut().zip(hour.codes).for_each(|(sum, n)| *sum += i64::from(n));
        }
        (0..).zip(sums).filter(|(_, n)| *n > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_leave_after_a_day() {
        let tally = Tally::of(["a/b"].into_iter());
        let hour = |n: i64| Micros(n * HOUR_US + 5);
        tally.count("a/b", 0, hour(100));
        tally.count("a/b", 7, hour(101));
        tally.count("a/b", 7, hour(101));
        tally.count("other", 0, hour(101));
        assert_eq!(tally.last_day("a/b", hour(101)), [(0, 1), (7, 2)]);
        assert_eq!(tally.last_day("a/b", hour(123)), [(0, 1), (7, 2)]);
        assert_eq!(tally.last_day("a/b", hour(124)), [(7, 2)]);
        tally.count("a/b", 7, hour(125));
        assert_eq!(tally.last_day("a/b", hour(125)), [(7, 1)]);
        assert_eq!(tally.last_day("other", hour(101)), []);
    }
}
