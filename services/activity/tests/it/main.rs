//! The activity service behind its composed stack, on both engines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod contract;
mod events;
mod facts;
mod harness;
mod lapses;
mod leases;
mod lists;
mod pauses;
mod runs;
mod schema;
