//! Which replicas of the spine follow the epoch through this process.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

/// The open watches of this process, by replica. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Watchers {
    open: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// An open watch; it counts until it is dropped.
#[derive(Debug)]
pub struct Watch {
    watchers: Watchers,
    replica: String,
}

impl Watchers {
    /// Counts a watch of `replica`.
    #[must_use]
    pub fn enter(&self, replica: &str) -> Watch {
        *self.open.lock().entry(replica.to_owned()).or_insert(0) += 1;
        Watch { watchers: self.clone(), replica: replica.to_owned() }
    }

    /// Replicas with an open watch.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.open.lock().keys().cloned().collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut open = self.watchers.open.lock();
        if let Some(count) = open.get_mut(&self.replica) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.replica);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_counts_while_one_of_its_watches_is_open() {
        let watchers = Watchers::default();
        let (first, second) = (watchers.enter("a"), watchers.enter("a"));
        drop(first);
        assert_eq!(watchers.names(), ["a"]);
        drop(second);
        assert!(watchers.names().is_empty());
    }
}
