//! The store facade on both engines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod append_only;
mod crash;
mod group;
mod insert;
mod migrate;
mod outbox;
mod read;
mod schema;
