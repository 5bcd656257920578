//! The mesh while its processes die.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod all_in_one;
mod repeats;
mod six_processes;
mod starts;
mod undo;
