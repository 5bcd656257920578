//! What an incident is and how it changes: pure decisions, no I/O, no clock, no randomness.

pub mod cause;
pub mod export;
pub mod grouping;
pub mod incident;
pub mod outcome;
pub mod reasons;
pub mod redact;
pub mod state;
pub mod suppression;
pub mod trigger;
mod word;

pub use word::{
    Category, CauseType, CloseReason, Disposition, EventKind, EvidenceKind, LinkType, ResolutionMethod,
    ResolutionType, RunStatus, Severity, Source, Status, Termination, Topic, Trigger,
};
