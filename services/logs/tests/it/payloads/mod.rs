//! Payloads: what is kept, what is not, and what is left after an erasure.

mod erasing;
mod files;
pub mod harness;
mod storing;
