//! Tests of the pure part of `logs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bits;
mod bundles;
mod findings;
mod merkle;
mod notes;
mod replay;
mod revoked;
mod second;
mod tamper;
mod vector;
