//! Use cases: each opens the one transaction of its call, or reads.

pub mod announce;
pub mod append_addendum;
pub mod append_records;
pub mod archive_trace;
pub mod audit;
pub mod build_bundle;
pub mod certificates;
mod claims;
pub mod compare;
pub mod events;
pub mod exports;
pub mod gauges;
pub mod keys;
pub mod link_incident;
pub mod mismatches;
pub mod once;
pub mod payloads;
pub mod purge;
pub mod read_traces;
pub mod replays;
pub mod seal_trace;
pub mod spans;
pub mod start_trace;
pub mod verify_trace;
pub mod watch;

use std::{path::PathBuf, sync::Arc};

use runspine_db::{Batcher, Db};
use runspine_types::Clock;

use self::audit::notary::Notary;
use crate::{
    Config,
    config::{OtlpConfig, ReplayConfig},
    keyring::Keyring,
    store::contract::Contracts,
    vault::Vault,
};

/// What every use case works with. Cheap to share.
pub struct App {
    /// The store.
    pub db: Db,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The keys that sign.
    pub keyring: Arc<Keyring>,
    /// Where records are handed in.
    pub append: Batcher<append_records::AppendRecords>,
    /// Who watches traces.
    pub watch: Arc<watch::Hub>,
    /// The streams that are open.
    pub seats: Arc<watch::Seats>,
    /// Audit contracts.
    pub contracts: Contracts,
    /// What makes checkpoints.
    pub notary: Arc<Notary>,
    /// The key that wraps the keys of payloads.
    pub vault: Vault,
    /// The folder of archived bundles.
    pub archive: PathBuf,
    /// Records that a trace can hold.
    pub max_records: u64,
    /// How long keys of replays are remembered.
    pub replay: ReplayConfig,
    /// Whether the profile is STRICT.
    pub strict: bool,
    /// What becomes of spans whose run nobody started.
    pub otlp: OtlpConfig,
    /// Exports of a tenant that can be in the making.
    pub exports_at_once: u32,
}

impl App {
    /// Over an open store.
    pub fn new(
        db: Db,
        clock: Arc<dyn Clock>,
        (keyring, vault): (Arc<Keyring>, Vault),
        notary: Arc<Notary>,
        (strict, archive): (bool, PathBuf),
        config: &Config,
    ) -> Self {
        let watch = Arc::new(watch::Hub::default());
        let seats = Arc::new(watch::Seats::new(config.watch.max_streams));
        let append = db.batcher(append_records::AppendRecords::new(
            Arc::clone(&clock),
            Arc::clone(&watch),
            config.trace.max_records,
        ));
        Self {
            db,
            clock,
            keyring,
            append,
            watch,
            seats,
            contracts: Contracts::new(),
            notary,
            vault,
            archive,
            max_records: config.trace.max_records,
            replay: config.replay,
            strict,
            otlp: config.otlp.clone(),
            exports_at_once: config.export.parallel,
        }
    }
}

/// 32 random bytes for a salt or a key.
///
/// # Errors
/// When the system gives none: nothing was written, so the call can be repeated.
pub fn random() -> Result<[u8; 32], runspine_errors::Fault> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| {
        runspine_errors::Fault::new(
            &runspine_errors::mesh::STORE_UNAVAILABLE,
            "the system gives no random bytes; nothing was changed",
        )
    })?;
    Ok(bytes)
}
