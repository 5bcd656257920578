//! When the next attempt of a run may be claimed.

use runspine_types::{Hasher, Micros};

const BASE_MICROS: u64 = 60_000_000;
const CAP_MICROS: u64 = 3_600_000_000;

/// The delay in microseconds after attempt `n` (from 1) of `run_id`: min(60 s x 2^(n-1), 3,600 s) and up to 20 % jitter.
/// The jitter is a function of run and attempt, so that every replica finds the same.
#[must_use]
pub fn delay_micros(run_id: &str, n: u32) -> u64 {
    let base = BASE_MICROS.saturating_mul(1_u64 << n.saturating_sub(1).min(32)).min(CAP_MICROS);
    // 0.2 x base x j / 2^32 in whole numbers: base is at most 2^32 and j below it.
    base + base * u64::from(jitter(run_id, n)) / 5 / (1 << 32)
}

/// When attempt `n + 1` may be claimed, if attempt `n` ended at `ended_at`.
#[must_use]
pub fn next_attempt_at(run_id: &str, n: u32, ended_at: Micros) -> Micros {
    Micros(ended_at.0.saturating_add_unsigned(delay_micros(run_id, n)))
}

/// The first four bytes, big-endian, of SHA-256("runspine.retry.v1" 0x00 run_id n).
fn jitter(run_id: &str, n: u32) -> u32 {
    let digest = Hasher::new("runspine.retry.v1").fixed(run_id.as_bytes()).fixed(&n.to_be_bytes()).finish();
    let [a, b, c, d, ..] = digest.0;
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RUN: &str = "0190c3a0-0000-7000-8000-0000000000aa";

    #[test]
    fn the_base_doubles_to_the_cap() {
        let expected = [60, 120, 240, 480, 960, 1_920, 3_600, 3_600, 3_600, 3_600];
        for (n, seconds) in (1..).zip(expected) {
            let base = seconds * 1_000_000;
            let delay = delay_micros(RUN, n);
            assert!((base..base + base / 5).contains(&delay), "attempt {n}: {delay}");
        }
    }

    #[test]
    fn the_jitter_is_the_documented_digest() {
        // printf 'runspine.retry.v1\0%s\0\0\0\1' "$RUN" | sha256sum
        let bytes = [b"runspine.retry.v1\0", RUN.as_bytes(), &[0, 0, 0, 1]].concat();
        let digest = runspine_types::hash(&bytes);
        let j = u32::from_be_bytes([digest.0[0], digest.0[1], digest.0[2], digest.0[3]]);
        assert_eq!(delay_micros(RUN, 1), 60_000_000 + 60_000_000 * u64::from(j) / 5 / (1 << 32));
        assert_eq!(next_attempt_at(RUN, 1, Micros(7)).0, 7 + i64::try_from(delay_micros(RUN, 1)).unwrap());
    }

    proptest! {
        #[test]
        fn never_below_the_base_nor_a_fifth_above_it(run in "[0-9a-f-]{36}", n in 1_u32..1_000) {
            let base = BASE_MICROS.saturating_mul(1 << (n - 1).min(32)).min(CAP_MICROS);
            let delay = delay_micros(&run, n);
            prop_assert!(delay >= base && delay < base + base / 5);
            prop_assert_eq!(delay, delay_micros(&run, n));
        }
    }
}
