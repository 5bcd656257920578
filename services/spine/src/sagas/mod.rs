//! Anything over two domains is a saga of the spine: each action beside its undo, both idempotent, journalled in the
//! audit contract before and after.

mod breaker;
pub mod completion;
pub(crate) mod drive;
pub(crate) mod export;
pub(crate) mod incident_export;
mod journal;
mod limit_breach;
mod parked;
pub(crate) mod retry;
pub(crate) mod violation;
