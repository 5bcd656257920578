//! What tests share: temporary stores on both engines, waiting for conditions, ids, certificates, checks of append-only
//! tables.
//!
//! For tests only, so it panics with a message where a test should fail.
#![allow(clippy::panic, clippy::expect_used, clippy::unwrap_used)]

mod certificates;
mod checks;
mod ids;
mod postgres;
mod store;
mod wait;

pub use certificates::{Authority, CertificateFiles};
pub use checks::{assert_append_only, assert_append_only_tables, assert_prepares};
pub use ids::{agent, run, tenant, test_id};
pub use postgres::Postgres;
pub use store::{POSTGRES, SQLITE, TestStore, on_engine};
pub use wait::{eventually, until_ok};
