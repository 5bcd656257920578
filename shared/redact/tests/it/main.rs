//! Redaction, judged by what leaves it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail loudly")]

mod corpus;
mod leaks;
