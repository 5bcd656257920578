//! Payloads: offered with a step, kept where its run allows it, read, held and erased.

pub mod denials;
pub mod erase;
pub mod failures;
pub mod get;
pub mod hold;
pub mod offer;
