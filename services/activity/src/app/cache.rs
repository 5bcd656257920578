//! The states that steps read, kept in memory. Only where this process is the single writer of the store (SQLite).
//!
//! A state is kept only if no write of its run began or was under way from before it was read until it is kept, and a
//! write forgets it before it begins and again when it is durable. So nobody is given a state that is older than the
//! newest answered write.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use contracts_activity::v1::RunState;

/// Most runs kept; beyond it those that nobody writes are forgotten.
const MOST: usize = 16_384;

/// An attempt as a step reads it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) run_key: i64,
    pub(crate) state: RunState,
}

type Key = (String, String);

#[derive(Default)]
struct Slot {
    writes: u32,
    version: u64,
    attempts: Vec<(u32, Arc<Known>)>,
}

#[derive(Default)]
struct Slots {
    runs: HashMap<Key, Slot>,
    /// Writes that may touch any run.
    sweeps: u32,
    epoch: u64,
}

/// The cache.
pub(crate) struct StateCache {
    enabled: bool,
    slots: Mutex<Slots>,
}

/// What a reader saw before it read: it may keep its reading only if this still holds.
pub(crate) struct Seen {
    version: u64,
    epoch: u64,
}

impl StateCache {
    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled, slots: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The kept state, or what to show to [`StateCache::keep`]; `Err(None)`: don't keep it.
    pub(crate) fn get(&self, tenant: &str, run_id: &str, attempt: u32) -> Result<Arc<Known>, Option<Seen>> {
        if !self.enabled {
            return Err(None);
        }
        let mut slots = self.lock();
        if slots.sweeps > 0 {
            return Err(None);
        }
        let epoch = slots.epoch;
        let slot = slots.runs.entry((tenant.to_owned(), run_id.to_owned())).or_default();
        if let Some((_, known)) = slot.attempts.iter().find(|(number, _)| *number == attempt) {
            return Ok(Arc::clone(known));
        }
        Err((slot.writes == 0).then_some(Seen { version: slot.version, epoch }))
    }

    /// Keeps what was read, if nothing was written meanwhile.
    pub(crate) fn keep(&self, tenant: &str, run_id: &str, attempt: u32, known: &Arc<Known>, seen: &Seen) {
        let mut slots = self.lock();
        if slots.runs.len() > MOST {
            slots.runs.retain(|_, slot| slot.writes > 0);
            // A forgotten slot begins again at version 0: nobody may keep what was read before.
            slots.epoch += 1;
        }
        if slots.sweeps > 0 || slots.epoch != seen.epoch {
            return;
        }
        let Some(slot) = slots.runs.get_mut(&(tenant.to_owned(), run_id.to_owned())) else { return };
        if slot.writes == 0 && slot.version == seen.version {
            slot.attempts.push((attempt, Arc::clone(known)));
        }
    }

    /// Announces a write of one run; it is over when the guard is dropped.
    pub(crate) fn writing(self: &Arc<Self>, tenant: &str, run_id: &str) -> Writing {
        let key = (tenant.to_owned(), run_id.to_owned());
        if self.enabled {
            let mut slots = self.lock();
            let slot = slots.runs.entry(key.clone()).or_default();
            slot.writes += 1;
            slot.attempts.clear();
        }
        Writing { cache: Arc::clone(self), key: Some(key), touched: None }
    }

    /// Announces a write that may touch any run. Nothing is answered from memory meanwhile.
    pub(crate) fn sweeping(self: &Arc<Self>) -> Writing {
        if self.enabled {
            let mut slots = self.lock();
            slots.sweeps += 1;
        }
        Writing { cache: Arc::clone(self), key: None, touched: None }
    }
}

/// A write under way.
pub(crate) struct Writing {
    cache: Arc<StateCache>,
    key: Option<Key>,
    /// What a sweep turned out to touch. `None`: anything.
    touched: Option<Vec<Key>>,
}

impl Writing {
    /// Says what a sweep touched, so that the rest is kept.
    pub(crate) fn touched(mut self, runs: Vec<(String, String)>) {
        self.touched = Some(runs);
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.cache.enabled {
            return;
        }
        let mut slots = self.cache.lock();
        match &self.key {
            Some(key) => {
                if let Some(slot) = slots.runs.get_mut(key) {
                    slot.writes -= 1;
                    slot.version += 1;
                    slot.attempts.clear();
                }
            }
            None => {
                slots.sweeps -= 1;
                slots.epoch += 1;
                match self.touched.take() {
                    Some(runs) => runs.iter().for_each(|key| {
                        if let Some(slot) = slots.runs.get_mut(key) {
                            slot.attempts.clear();
                        }
                    }),
                    None => slots.runs.values_mut().for_each(|slot| slot.attempts.clear()),
                }
            }
        }
    }
}
