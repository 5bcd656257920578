//! The sessions of this replica, by run and attempt.

use std::{num::NonZeroUsize, sync::Arc};

use contracts_common::common::v1::StepOutcome;
use contracts_logs::v1::Receipt;
use contracts_policies::v1::StepFact;
use lru::LruCache;
use parking_lot::Mutex;
use runspine_types::Micros;

use super::session::{Session, Step, Try, Used};

/// What a replica keeps of an attempt between two calls.
#[derive(Debug, Default)]
pub struct Slot {
    /// The fold of the trace. `None`: to be read.
    pub session: Option<Session>,
    /// Facts of finished steps that policies may not have learned yet, in order.
    pub facts: Vec<StepFact>,
    /// When the lease was extended last by this replica.
    pub renewed_at: Micros,
}

impl Slot {
    /// Forgets what it knows: the next call reads the trace.
    pub fn forget(&mut self) {
        *self = Self { renewed_at: self.renewed_at, ..Self::default() };
    }

    /// Takes over a try that the kernel itself put on the trace.
    pub fn note_step(&mut self, index: u32, step: &Step, outcome: StepOutcome, stored: &Receipt) {
        let Some(session) = &mut self.session else { return };
        let next = Try { retry_count: 0, outcome, position: stored.position };
        session.recorded(index, step.kind, &step.name, next, Used::default());
        // The fact of this record is read from the trace when policies asks for it.
        self.facts.clear();
    }

    /// Policies has learned every fact before `next_seq`.
    pub fn learned(&mut self, next_seq: u64) {
        self.facts.retain(|f| f.seq >= next_seq);
        if let Some(session) = &mut self.session {
            session.facts_told = next_seq.saturating_sub(1);
        }
    }
}

type Key = (String, String, u32);

/// One slot a run and attempt, the least recently used out first.
pub struct Sessions {
    slots: Mutex<LruCache<Key, Arc<tokio::sync::Mutex<Slot>>>>,
}

impl Sessions {
    /// Keeps up to `capacity` sessions.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self { slots: Mutex::new(LruCache::new(capacity)) }
    }

    /// The slot of an attempt. Whoever holds its lock decides alone for this attempt on this replica.
    #[must_use]
    pub fn slot(&self, tenant: &str, run_id: &str, attempt: u32) -> Arc<tokio::sync::Mutex<Slot>> {
        let key = (tenant.to_owned(), run_id.to_owned(), attempt);
        Arc::clone(self.slots.lock().get_or_insert(key, Arc::default))
    }

    /// The attempt has ended: nobody will ask again.
    pub fn drop_attempt(&self, tenant: &str, run_id: &str, attempt: u32) {
        self.slots.lock().pop(&(tenant.to_owned(), run_id.to_owned(), attempt));
    }
}
