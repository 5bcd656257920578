//! Audit contracts: append-only entries, and one working row a contract.
//!
//! A writer loads [`Held`] contracts, changes them in memory through their journal, and saves them: at most four
//! statements however many contracts there are. Folded contracts are remembered; a remembered one counts only while
//! its last link is the one in the row, so neither a rolled back group nor another replica can make it wrong.

mod claim;
mod list;
mod load;
mod row;
mod save;
mod tally;

use std::{num::NonZeroUsize, ops::Deref, sync::Arc};

use lru::LruCache;
use parking_lot::Mutex;
use runspine_logs_domain::contract::{Contract, Journal};
use runspine_types::Digest;

pub use claim::{ClaimScope, Claimed, backlog};
pub use list::{ContractFilter, ContractOrder, list};
pub use load::read;
pub use row::IndexRow;
pub use tally::open;

/// Folded contracts that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();

/// Folded contracts by their number, each with the link that it was folded up to.
type Folded = LruCache<i64, (Digest, Arc<Contract>)>;

/// The store of contracts. Cheap to clone; one per process.
#[derive(Clone)]
pub struct Contracts {
    folded: Arc<Mutex<Folded>>,
}

impl Default for Contracts {
    fn default() -> Self {
        Self { folded: Arc::new(Mutex::new(LruCache::new(REMEMBERED))) }
    }
}

impl Contracts {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn remembered(&self, row: &IndexRow) -> Option<Arc<Contract>> {
        let mut folded = self.folded.lock();
        folded.get(&row.contract_id).filter(|(link, _)| *link == row.last_link).map(|(_, c)| Arc::clone(c))
    }

    fn remember(&self, contract_id: i64, link: Digest, contract: Arc<Contract>) {
        self.folded.lock().put(contract_id, (link, contract));
    }
}

/// A contract inside a transaction: its journal, and the row as it was loaded (`None`: it does not exist yet).
pub struct Held {
    row: Option<IndexRow>,
    /// What is written to it.
    pub journal: Journal,
}

impl Held {
    /// Its working row.
    #[must_use]
    pub fn row(&self) -> Option<&IndexRow> {
        self.row.as_ref()
    }

    /// Whether it was never declared nor acknowledged.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.row.is_none()
    }
}

impl Deref for Held {
    type Target = Contract;
    fn deref(&self) -> &Contract {
        self.journal.contract()
    }
}
