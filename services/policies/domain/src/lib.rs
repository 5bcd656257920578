//! What the policies domain decides, as pure functions: rule texts, snapshots, slices, decisions, evaluations.
//!
//! No I/O, no clock, no randomness: time and ids are arguments. Same snapshot, same facts, same decision.

pub mod analysis;
pub mod approval;
pub mod checked;
pub mod compile;
pub mod condition;
pub mod decide;
pub mod draft;
pub mod entities;
pub mod evaluate;
pub mod facts;
pub mod guard;
pub mod health;
pub mod lesson;
pub mod obligation;
pub mod proposal;
pub mod reasons;
pub mod record;
pub mod rule;
pub mod run_evaluation;
pub mod sandbox;
pub mod schema;
pub mod sequence;
pub mod settings;
pub mod slice;
pub mod snapshot;
pub mod template;
pub mod text;
pub mod words;

/// Version of what the evaluator means by a rule: part of every snapshot and decision.
pub const SEMANTICS_VERSION: u32 = 1;
