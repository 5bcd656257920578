//! The activity service behind its composed stack, on both engines.

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
