//! The working row of a contract.

use runspine_logs_domain::contract::Key;
use runspine_types::{Digest, Micros};

runspine_db::row! {
    /// The working row of a contract.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct IndexRow {
        /// Its number.
        pub contract_id: i64,
        /// Its tenant.
        pub tenant_id: String,
        /// Its saga.
        pub saga: String,
        /// What it is about.
        pub subject_id: String,
        /// The attempt.
        pub attempt: u32,
        /// 1 OPEN, 2 CLOSED.
        pub state: i32,
        /// When it was declared.
        pub declared_at: Option<Micros>,
        /// The latest verdict, 0 for none.
        pub verdict: i32,
        /// Number of its entries.
        pub last_seq: u64,
        /// Link of the last one.
        pub last_link: Digest,
        /// When something is overdue.
        pub next_deadline: Option<Micros>,
        /// Not to be claimed before this.
        pub next_attempt_at: Option<Micros>,
        /// Who has it claimed.
        pub claimed_by: String,
        /// Until when.
        pub claimed_until: Option<Micros>,
        /// The fence in force.
        pub fence: u64,
        /// RETRY releases since the last progress.
        pub retries: u32,
        /// Whether only a person can let it go on.
        pub parked: bool,
        /// Why.
        pub parked_reason: String,
    }
}

impl IndexRow {
    /// Its name.
    #[must_use]
    pub fn key(&self) -> Key {
        Key {
            tenant_id: self.tenant_id.clone(),
            saga: self.saga.clone(),
            subject_id: self.subject_id.clone(),
            attempt: self.attempt,
        }
    }
}
