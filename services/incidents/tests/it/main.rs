//! The incidents service behind its composed stack, on both engines.

mod commands;
mod contract;
mod events;
mod grouping;
mod harness;
mod lists;
mod outcomes;
mod reports;
mod schema;
mod voids;
