//! The `logs` service: observes and audits. It owns traces, the governance ledger, audit contracts and evidence; it
//! decides nothing about a run and changes nothing outside its own database.

mod app;
mod config;
mod keyring;
mod metrics;
mod publish;
mod retention;
mod rpc;
mod service;
mod store;
mod vault;
mod worker;

pub use app::gauges::sample_metrics;
pub use config::Config;
pub use publish::acknowledge_rollback;
pub use retention::{Purged, RetentionError, apply_retention};
pub use service::service;
pub use store::MIGRATIONS;
