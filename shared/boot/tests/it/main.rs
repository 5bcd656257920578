//! A process from its start to its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod life;
mod tls;
mod tools;
