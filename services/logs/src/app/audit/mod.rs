//! Use cases of the audit: contracts, ledger, evidence, dispatch records.

pub mod anchor;
pub mod checkpoints;
pub mod contracts;
pub mod dispatches;
pub mod evidence;
pub mod integrity;
pub mod ledger;
pub mod notary;
pub mod orders;
pub mod system;
pub mod told;
pub mod verify;
pub mod window;

use std::{sync::Arc, time::Duration};

use runspine_db::{Batcher, Db};
use runspine_logs_domain::contract::rules::Backoff;
use runspine_types::Clock;
use tokio::sync::watch;

use crate::{Config, app::watch::Seats, store::contract::Contracts};

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
    /// Changes with each commit of ledger events.
    pub appended: watch::Sender<u64>,
    /// The streams that are open.
    pub seats: Arc<Seats>,
    /// What makes checkpoints.
    pub notary: Arc<notary::Notary>,
}

impl Audit {
    /// Over an open store.
    #[must_use]
    pub fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        (contracts, seats): (Contracts, Arc<Seats>),
        notary: Arc<notary::Notary>,
        config: &Config,
    ) -> Self {
        let backoff = Backoff {
            cap: Duration::from_secs(u64::from(config.contract.backoff_cap_seconds)),
            park_after: config.contract.park_after,
        };
        let appended = watch::Sender::new(0);
        let writes = db.batcher(contracts::ContractWrites::new(contracts.clone(), Arc::clone(&clock)));
        let append = db.batcher(ledger::AppendEntries::new(appended.clone(), Arc::clone(&clock)));
        let dispatches = db.batcher(dispatches::AppendDispatches);
        Self { db, clock, contracts, backoff, writes, append, dispatches, appended, seats, notary }
    }
}
