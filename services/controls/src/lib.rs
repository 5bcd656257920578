//! `controls` decides how much a run may use, and stops it.
//!
//! Limits and their envelopes, the escrow and holds of runs, freezes, and the evidence of every decision.

pub mod app;
pub mod rpc;
pub mod store;
