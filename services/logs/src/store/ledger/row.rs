//! Rows of the ledger.

use bytes::Bytes;
use runspine_types::{Digest, Micros};

runspine_db::row! {
    /// An entry with its query columns and, where they were not erased, its states.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct EntryRow {
        /// Its place.
        pub seq: u64,
        /// The entry's bytes.
        pub entry: Bytes,
        /// Its link.
        pub link: Digest,
        /// Canonical JSON before the change.
        pub before_state: Option<String>,
        /// Canonical JSON after the change.
        pub after_state: Option<String>,
        /// Salt of the states' digests.
        pub state_salt: Option<Bytes>,
    }
}

runspine_db::row! {
    /// An entry as the chain sees it, with the columns that must say the same.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StoredEntry {
        /// Its place.
        pub seq: u64,
        /// Id of the entry.
        pub entry_id: String,
        /// Id of the event.
        pub event_id: String,
        /// Name of the event.
        pub event_type: String,
        /// Scope.
        pub scope: i32,
        /// The run.
        pub run_id: String,
        /// The attempt.
        pub attempt: u32,
        /// The step.
        pub step_index: Option<u32>,
        /// Joins what one call led to.
        pub correlation_id: String,
        /// What caused it.
        pub causation_id: String,
        /// What kind of thing it is about.
        pub entity_type: String,
        /// Which one.
        pub entity_id: String,
        /// What kind of actor did it.
        pub actor_type: i32,
        /// Which actor.
        pub actor_id: String,
        /// Why.
        pub reason: String,
        /// Digest of the state before.
        pub before_digest: Bytes,
        /// Digest of the state after.
        pub after_digest: Bytes,
        /// When it happened.
        pub occurred_at: Micros,
        /// When it was recorded.
        pub recorded_at: Micros,
        /// The entry's bytes.
        pub entry: Bytes,
        /// Its link.
        pub link: Digest,
    }
}
