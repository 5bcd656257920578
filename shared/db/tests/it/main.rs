//! The store facade on both engines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod append_only;
mod batch;
mod compact;
mod crash;
mod group;
mod held;
mod insert;
mod migrate;
mod outbox;
mod plans;
mod read;
mod schema;
