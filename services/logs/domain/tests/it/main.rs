//! Tests of the pure part of `logs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bundles;
mod merkle;
mod notes;
mod replay;
mod revoked;
mod second;
mod tamper;
mod vector;
