//! The `logs` service: observes and audits. It owns traces, the governance ledger, audit contracts and evidence; it
//! decides nothing about a run and changes nothing outside its own database.

mod config;

pub use config::Config;
