//! The audit contract: what was promised, what was done, and what the audit says of it.
//!
//! A contract is nothing but its entries. [`Contract`] folds them, [`Contract::judge`] says what the audit finds at a
//! moment, [`rules`] says which entry may follow; [`crate::chain`] links them.

mod clock;
mod fold;
mod journal;
mod judge;
pub mod rules;

pub use clock::QUIET_AFTER_INTENT;
pub use fold::{Ack, Contract, Deadline, Expectation, Intent, Judged, Unreadable};
pub use journal::{Added, By, Fact, Journal, Key, Promise, Wish};
pub use judge::{Finding, FindingCode, Judgement, Standing};

/// The saga whose contract belongs to a run attempt.
pub const RUN_SAGA: &str = "run";
/// The kind of the intent that a completion begins with.
pub const COMPLETION: &str = "COMPLETION";
/// The kind of the intent that a compensation begins with.
pub const COMPENSATION: &str = "COMPENSATION";
/// Milliseconds that finalizing may take beyond the run's own time.
pub const FINALIZE_GRACE_MS: u64 = 5_000;
/// Milliseconds that a run may take unless it says otherwise.
pub const DEFAULT_RUN_TIMEOUT_MS: u64 = 30_000;

/// The domain that finalizes.
pub const ORCHESTRATOR: &str = "orchestrator";

/// Whether `domain/action` is what ends a contract of `saga`.
#[must_use]
pub fn is_finalize(saga: &str, domain: &str, action: &str) -> bool {
    domain == ORCHESTRATOR && action == if saga == RUN_SAGA { "finalize_run" } else { "finalize_saga" }
}

#[cfg(test)]
mod tests;
