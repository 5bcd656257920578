//! The event feed on both engines, and the catalogue.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod catalogue;
mod feed;
mod life;
