//! Rates: token buckets in whole nano-tokens, and slots of what runs at the same time.

use runspine_types::Micros;

use crate::limit::Limit;

/// Nano-tokens of a token.
pub const NANO: i64 = 1_000_000_000;

/// A bucket of a RATE limit for one scope id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Nano-tokens in it at `last`; below 0 after more was used than was taken for it.
    pub level: i64,
    /// When it was last filled.
    pub last: Micros,
}

/// Why a bucket gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Short {
    /// It will have enough in so many milliseconds.
    Wait(i64),
    /// It never holds so many.
    Never,
}

/// Nano-tokens of a full bucket.
#[must_use]
pub fn capacity(limit: &Limit) -> i64 {
    limit.spec.burst.saturating_mul(NANO)
}

impl Bucket {
    /// A bucket that nobody has taken from.
    #[must_use]
    pub fn full(limit: &Limit, now: Micros) -> Self {
        Self { level: capacity(limit), last: now }
    }

    /// The bucket at a later time. A clock that goes back fills nothing.
    #[must_use]
    pub fn at(&self, limit: &Limit, now: Micros) -> Self {
        let elapsed = i128::from((now.0 - self.last.0).max(0));
        let window_us = i128::from(limit.spec.window_s.max(1)) * 1_000_000;
        let gained = elapsed * i128::from(limit.spec.max_value) * i128::from(NANO) / window_us;
        let level = (i128::from(self.level) + gained).min(i128::from(capacity(limit)));
        Self { level: i64::try_from(level).unwrap_or(i64::MIN), last: Micros(self.last.0.max(now.0)) }
    }

    /// Takes `tokens`, or says why not.
    ///
    /// # Errors
    /// How long to wait, or that no wait helps.
    pub fn take(&self, limit: &Limit, tokens: i64, now: Micros) -> Result<Self, Short> {
        let filled = self.at(limit, now);
        let wanted = i128::from(tokens) * i128::from(NANO);
        if wanted > i128::from(capacity(limit)) {
            return Err(Short::Never);
        }
        let missing = wanted - i128::from(filled.level);
        if missing <= 0 {
            let level = i128::from(filled.level) - wanted;
            return Ok(Self { level: i64::try_from(level).unwrap_or(0), last: filled.last });
        }
        let window_ms = i128::from(limit.spec.window_s.max(1)) * 1_000;
        let rate = i128::from(limit.spec.max_value.max(1)) * i128::from(NANO);
        // From the time that the bucket knows: a clock that went back has to come forward first.
        let behind = (filled.last.0 - now.0).max(0) / 1_000;
        let wait = (missing * window_ms + rate - 1) / rate;
        Err(Short::Wait(i64::try_from(wait).unwrap_or(i64::MAX).saturating_add(behind)))
    }

    /// Corrects what was taken once the truth is known: `tokens` more were used, or fewer when below 0.
    #[must_use]
    pub fn correct(&self, limit: &Limit, tokens: i64, now: Micros) -> Self {
        let filled = self.at(limit, now);
        let level = i128::from(filled.level) - i128::from(tokens) * i128::from(NANO);
        let level = level.clamp(-i128::from(i64::MAX), i128::from(capacity(limit)));
        Self { level: i64::try_from(level).unwrap_or(0), last: filled.last }
    }

    /// Whole tokens in it.
    #[must_use]
    pub fn tokens(&self) -> i64 {
        self.level.div_euclid(NANO)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        limit::sample,
        words::{Category, Unit},
    };

    fn rate(max_value: i64, window_s: u32, burst: i64) -> Limit {
        let mut limit = sample(1, max_value);
        (limit.spec.category, limit.spec.unit) = (Category::Rate, Unit::Requests);
        (limit.spec.window_s, limit.spec.burst) = (window_s, burst);
        limit
    }

    #[test]
    fn waiting_as_long_as_said_admits_and_a_millisecond_less_does_not() {
        for (max_value, window_s, burst) in
            [(7, 60, 7), (3, 1, 9), (600, 60, 100), (1, 86_400, 1), (13, 7, 20)]
        {
            let limit = rate(max_value, window_s, burst);
            let start = Micros(1_000_000);
            let empty = Bucket::full(&limit, start).take(&limit, burst, start).unwrap();
            assert_eq!(empty.level, 0);
            for tokens in 1..=burst.min(5) {
                let Err(Short::Wait(ms)) = empty.take(&limit, tokens, start) else { panic!("not short") };
                assert!(empty.take(&limit, tokens, start.plus_millis(ms)).is_ok(), "{max_value}/{window_s}");
                assert!(
                    empty.take(&limit, tokens, start.plus_millis(ms - 1)).is_err(),
                    "{max_value}/{window_s}"
                );
            }
            assert_eq!(empty.take(&limit, burst + 1, start), Err(Short::Never));
        }
    }

    #[test]
    fn a_clock_that_goes_back_fills_nothing() {
        let limit = rate(10, 1, 10);
        let bucket = Bucket::full(&limit, Micros(5_000_000)).take(&limit, 10, Micros(5_000_000)).unwrap();
        assert_eq!(bucket.at(&limit, Micros(1)), bucket);
        let Err(Short::Wait(ms)) = bucket.take(&limit, 1, Micros(4_000_000)) else { panic!("not short") };
        assert_eq!(ms, 1_100);
    }

    #[test]
    fn an_overrun_is_owed_and_an_underrun_comes_back() {
        let limit = rate(10, 1, 10);
        let now = Micros(0);
        let bucket = Bucket::full(&limit, now).take(&limit, 8, now).unwrap();
        assert_eq!(bucket.correct(&limit, 5, now).tokens(), -3);
        assert_eq!(bucket.correct(&limit, -6, now).tokens(), 8);
        assert_eq!(bucket.correct(&limit, -60, now).tokens(), 10);
    }

    #[test]
    fn the_largest_rates_fit() {
        let most = crate::limit::MOST_TOKENS;
        let limit = rate(most, 1, most);
        let bucket = Bucket::full(&limit, Micros(0)).take(&limit, most, Micros(0)).unwrap();
        assert_eq!(bucket.at(&limit, Micros(i64::MAX)).tokens(), most);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// In no window are more than burst + rate × window admitted, however the calls come.
        #[test]
        fn no_window_admits_more_than_burst_and_rate(
            (max_value, window_s, burst) in (1..50_i64, 1..20_u32, 1..60_i64),
            calls in proptest::collection::vec((0..900_000_i64, 1..4_i64), 1..80),
        ) {
            let limit = rate(max_value, window_s, burst);
            let mut now = Micros(0);
            let mut bucket = Bucket::full(&limit, now);
            let mut taken: Vec<(i64, i64)> = Vec::new();
            for (gap, tokens) in calls {
                now = Micros(now.0 + gap);
                if let Ok(next) = bucket.take(&limit, tokens, now) {
                    bucket = next;
                    taken.push((now.0, tokens));
                }
            }
            for (index, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0_i128;
                for (until, tokens) in &taken[index..] {
                    sum += i128::from(*tokens);
                    let window = i128::from(until - from);
                    let refill = i128::from(max_value) * window / (i128::from(window_s) * 1_000_000);
                    prop_assert!(sum <= i128::from(burst) + refill + 1);
                }
            }
        }
    }
}
