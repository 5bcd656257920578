//! The logs service, called as the spine calls it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]

mod audit;
mod metrics;
mod payloads;
mod replays;
mod spans;
mod statements;
mod tenants;
mod traces;
mod witness;
