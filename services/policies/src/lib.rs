//! The `policies` service: decides. It owns rules, snapshots, decisions, evaluations, violations and enforcements; it
//! executes nothing, calls no other domain, and answers only after what it decided is durable in its own database.

mod app;
mod config;
mod present;
mod present_sandbox;
mod present_sequence;
mod present_template;
mod rpc;
mod service;
mod store;
mod worker;

pub use config::Config;
pub use service::{Parts, parts, service};
pub use store::MIGRATIONS;
