//! What can go wrong, as a result: eleven kinds, named reasons, and everything a caller needs to act on it.
//!
//! No transport is known here. `runspine-rpc` turns a [`Fault`] into a gRPC status with `google.rpc` details.

mod fault;
pub mod mesh;
mod reason;

pub use fault::{Fault, FieldViolation, PreconditionViolation, QuotaViolation, Violations};
pub use reason::{Kind, Reason};

/// The result of an operation that can fail.
pub type Outcome<T> = Result<T, Fault>;
