//! What the writer did, counted.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use runspine_telemetry::{Counter, Histogram, KeyValue};

static GROUP: Histogram = Histogram::sizes("runspine_store_group_size", "Operations in one commit, by store");
static COMMIT: Histogram = Histogram::seconds(
    "runspine_store_commit_seconds",
    "How long a commit took, its fsync included, by store",
);
static FAILED: Counter =
    Counter::new("runspine_store_failed_groups_total", "Groups lost as a whole, by store");
static FALLBACKS: Counter =
    Counter::new("runspine_store_fallbacks_total", "Batches that were tried item by item, by store");
static OVERLOADED: Counter =
    Counter::new("runspine_store_overloaded_total", "Writes refused because too many waited, by store");

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

#[derive(Debug)]
pub(crate) struct Counters {
    store: [KeyValue; 1],
    groups: AtomicU64,
    operations: AtomicU64,
    largest_group: AtomicU64,
    failed_groups: AtomicU64,
    fallbacks: AtomicU64,
    overloaded: AtomicU64,
    commit_nanos: AtomicU64,
}

impl Counters {
    pub(crate) fn of(domain: &str) -> Self {
        Self {
            store: [KeyValue::new("store", domain.to_owned())],
            groups: AtomicU64::new(0),
            operations: AtomicU64::new(0),
            largest_group: AtomicU64::new(0),
            failed_groups: AtomicU64::new(0),
            fallbacks: AtomicU64::new(0),
            overloaded: AtomicU64::new(0),
            commit_nanos: AtomicU64::new(0),
        }
    }

    /// The store as a label.
    pub(crate) fn store(&self) -> &[KeyValue] {
        &self.store
    }

    #[allow(clippy::cast_precision_loss, reason = "a group is bounded by the queue")]
    pub(crate) fn committed(&self, operations: u64, took: Duration) {
        GROUP.record_prepared(operations as f64, &self.store);
        COMMIT.record_prepared(took.as_secs_f64(), &self.store);
        self.groups.fetch_add(1, Relaxed);
        self.operations.fetch_add(operations, Relaxed);
        self.largest_group.fetch_max(operations, Relaxed);
        self.commit_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    pub(crate) fn failed_group(&self) {
        FAILED.add_prepared(1, &self.store);
        self.failed_groups.fetch_add(1, Relaxed);
    }

    pub(crate) fn fallback(&self) {
        FALLBACKS.add_prepared(1, &self.store);
        self.fallbacks.fetch_add(1, Relaxed);
    }

    pub(crate) fn overloaded(&self) {
        OVERLOADED.add_prepared(1, &self.store);
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
