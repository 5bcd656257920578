//! A trace: what may be appended to it, in what order, and what a row says about a record.

mod check;
mod columns;
mod facts;
mod item;
pub mod llm;
mod prose;
mod rules;
mod state;
mod steps;
mod summary;
mod totals;

pub use columns::{Body, Columns, Level};
pub use facts::{Fact, Facts, Wanted};
pub use item::{Item, MAX_ANSWER, MAX_RECORD, item_of};
pub use state::{Appended, Outcome, Stamp, TraceState};
pub use summary::Summary;
pub use totals::Totals;

/// Positions at the end of a full trace that only CONTROL and RESOLUTION can take.
pub const RESERVED: u64 = 16;

/// Microseconds that a reporter's clock can be ahead before its record is flagged.
pub const MAX_AHEAD_US: i64 = 300_000_000;
