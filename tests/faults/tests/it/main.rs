//! The mesh while its processes die.

#![expect(clippy::print_stderr, reason = "the seed and the counts are what a person needs of a crash test")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod all_in_one;
mod repeats;
mod six_processes;
mod starts;
mod undo;
