//! The RPC layer against a small service that is compiled from protos in this folder, through both doors.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod demo;
mod doors;
mod peers;
mod protos;
mod registry;
mod retries;
mod secured;
mod telemetry;
