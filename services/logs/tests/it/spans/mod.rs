//! OpenTelemetry spans on the traces of governed runs.

mod governed;
pub mod harness;
mod sending;
