//! OpenTelemetry spans on the traces of governed runs, and of runs that exist only as spans.

mod governed;
pub mod harness;
mod observed;
mod sending;
