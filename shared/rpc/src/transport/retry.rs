//! When a call may be tried again: only what can be repeated, only while there is time, and never more than a tenth of
//! the load, so that retries don't bury a target that struggles.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

/// The most attempts of one call.
pub(super) const MAX_ATTEMPTS: u32 = 3;
const BASE: Duration = Duration::from_millis(10);
/// In tenths of a retry.
const FULL: i64 = 100;
const PRICE: i64 = 10;

/// A budget of retries: each call pays in a tenth, each retry takes a whole.
#[derive(Debug)]
pub(super) struct Budget(AtomicI64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicI64::new(FULL))
    }
}

impl Budget {
    /// Pays in for a call.
    pub fn deposit(&self) {
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |have| (have < FULL).then_some(have + 1));
    }

    /// Takes a retry out, if there is one.
    pub fn withdraw(&self) -> bool {
        let take = |have: i64| (have >= PRICE).then_some(have - PRICE);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// How long to wait before attempt `next` (2 is the first retry): doubled each time, between half and all of it.
pub(super) fn pause(next: u32, random: u64) -> Duration {
    let most = BASE * 2u32.saturating_pow(next.saturating_sub(2));
    let half = most / 2;
    half + Duration::from_micros(random % u64::try_from(half.as_micros()).unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_allows_ten_then_one_per_ten_calls() {
        let budget = Budget::default();
        assert_eq!((0..20).filter(|_| budget.withdraw()).count(), 10);
        (0..10).for_each(|_| budget.deposit());
        assert!(budget.withdraw());
        assert!(!budget.withdraw());
    }

    #[test]
    fn pauses_double_and_stay_in_their_range() {
        for (next, most) in [(2, 10), (3, 20), (4, 40)] {
            for random in [0, 1, 12_345, u64::MAX] {
                let pause = pause(next, random);
                assert!(pause >= Duration::from_millis(most) / 2 && pause < Duration::from_millis(most));
            }
        }
    }
}
