//! The laws of the house: each check over the tree, and over a violation that it must find.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]
#![allow(clippy::print_stdout, reason = "how much a guard inspected is shown with its result")]

mod dependencies;
mod documents;
mod errors;
mod files;
mod ledger;
mod mesh;
mod operations;
mod protos;
mod spine;
mod stores;
mod tree;
