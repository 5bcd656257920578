//! Use cases of the audit: contracts, ledger, evidence, dispatch records.

pub mod checkpoints;
pub mod contracts;
pub mod dispatches;
pub mod evidence;
pub mod ledger;
pub mod notary;
pub mod orders;
pub mod told;
pub mod verify;

use std::{sync::Arc, time::Duration};

use runspine_db::{Batcher, Db};
use runspine_logs_domain::contract::rules::Backoff;
use runspine_types::Clock;

use crate::{Config, store::contract::Contracts};

/// What the use cases of the audit work with. Cheap to share.
pub struct Audit {
    /// The store.
    pub db: Db,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The store of contracts.
    pub contracts: Contracts,
    /// How claims that could not be driven are tried again.
    pub backoff: Backoff,
    /// Where writes to contracts are handed in.
    pub writes: Batcher<contracts::ContractWrites>,
    /// Where ledger events are handed in.
    pub append: Batcher<ledger::AppendEntries>,
    /// Where dispatch records are handed in.
    pub dispatches: Batcher<dispatches::AppendDispatches>,
    /// Who watches the ledger.
    pub watchers: Arc<ledger::Watchers>,
    /// What makes checkpoints.
    pub notary: Arc<notary::Notary>,
}

impl Audit {
    /// Over an open store.
    #[must_use]
    pub fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        contracts: Contracts,
        notary: Arc<notary::Notary>,
        config: &Config,
    ) -> Self {
        let backoff = Backoff {
            cap: Duration::from_secs(u64::from(config.contract.backoff_cap_seconds)),
            park_after: config.contract.park_after,
        };
        let watchers = Arc::new(ledger::Watchers::new(config.watch.max_streams));
        let writes = db.batcher(contracts::ContractWrites::new(contracts.clone(), Arc::clone(&clock)));
        let append = db.batcher(ledger::AppendEntries::new(Arc::clone(&watchers), Arc::clone(&clock)));
        let dispatches = db.batcher(dispatches::AppendDispatches);
        Self { db, clock, contracts, backoff, writes, append, dispatches, watchers, notary }
    }
}
