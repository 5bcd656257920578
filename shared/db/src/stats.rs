//! What the writer did, counted.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Counters of a writer since its store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Groups committed.
    pub groups: u64,
    /// Operations and batch items answered by a committed group, the refused ones among them.
    pub operations: u64,
    /// Operations and batch items in the largest group so far.
    pub largest_group: u64,
    /// Groups that failed as a whole.
    pub failed_groups: u64,
    /// Batches that failed as a whole and were tried item by item.
    pub fallbacks: u64,
    /// Callers refused because the queue was full.
    pub overloaded: u64,
    /// Time spent in commits, the fsync included.
    pub commit_time: Duration,
    /// Operations that wait now.
    pub waiting: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    groups: AtomicU64,
    operations: AtomicU64,
    largest_group: AtomicU64,
    failed_groups: AtomicU64,
    fallbacks: AtomicU64,
    overloaded: AtomicU64,
    commit_nanos: AtomicU64,
}

impl Counters {
    pub(crate) fn committed(&self, operations: u64, took: Duration) {
        self.groups.fetch_add(1, Relaxed);
        self.operations.fetch_add(operations, Relaxed);
        self.largest_group.fetch_max(operations, Relaxed);
        self.commit_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn failed_group(&self) {
        self.failed_groups.fetch_add(1, Relaxed);
    }

    pub(crate) fn fallback(&self) {
        self.fallbacks.fetch_add(1, Relaxed);
    }

    pub(crate) fn overloaded(&self) {
        self.overloaded.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self, waiting: usize) -> Stats {
        Stats {
            groups: self.groups.load(Relaxed),
            operations: self.operations.load(Relaxed),
            largest_group: self.largest_group.load(Relaxed),
            failed_groups: self.failed_groups.load(Relaxed),
            fallbacks: self.fallbacks.load(Relaxed),
            overloaded: self.overloaded.load(Relaxed),
            commit_time: Duration::from_nanos(self.commit_nanos.load(Relaxed)),
            waiting: waiting as u64,
        }
    }
}
