//! The incidents service behind its composed stack, on both engines.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fail loudly")]

mod commands;
mod contract;
mod events;
mod exports;
mod grouping;
mod harness;
mod lists;
mod outcomes;
mod reports;
mod schema;
mod violations;
mod voids;
