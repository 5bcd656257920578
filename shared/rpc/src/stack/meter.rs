//! Counts and durations of one operation.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tonic::Code;

/// Upper bounds of the buckets, in microseconds; what is slower falls in the last one.
const BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_000_000, 10_000_000];
const CODES: usize = 17;

/// Counters that only grow. Counting takes three relaxed additions.
#[derive(Debug, Default)]
pub struct Meter {
    codes: [AtomicU64; CODES],
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    total_us: AtomicU64,
}

/// What a meter showed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Calls by code, codes without a call left out.
    pub codes: Vec<(Code, u64)>,
    /// Calls by upper bound in microseconds; `u64::MAX` for the rest.
    pub buckets: Vec<(u64, u64)>,
    /// The sum of all durations in microseconds.
    pub total_us: u64,
}

impl Meter {
    /// Counts one call.
    pub fn count(&self, code: Code, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.codes[(code as usize).min(CODES - 1)].fetch_add(1, Ordering::Relaxed);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.total_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What it shows now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let codes = self.codes.iter().map(load).zip(0i32..);
        let codes = codes.filter(|(n, _)| *n > 0).map(|(n, code)| (Code::from_i32(code), n)).collect();
        let bounds = BOUNDS_US.iter().copied().chain([u64::MAX]);
        let buckets = bounds.zip(self.buckets.iter().map(load)).collect();
        Snapshot { codes, buckets, total_us: load(&self.total_us) }
    }
}

impl Snapshot {
    /// Calls in all.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.codes.iter().map(|(_, n)| n).sum()
    }

    /// Calls that ended with `code`.
    #[must_use]
    pub fn with_code(&self, code: Code) -> u64 {
        self.codes.iter().filter(|(c, _)| *c == code).map(|(_, n)| n).sum()
    }
}
