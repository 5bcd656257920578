//! The completion of an attempt: every road to an end takes it.

mod actions;
mod drive;
mod ending;
mod journal;
mod judge;
mod plan;
mod present;
mod undo;

pub use drive::Driven;
pub(crate) use drive::{Hitch, system};
pub(crate) use ending::first_intent;
pub use ending::{Ending, OpenedBy};
pub use journal::Journal;
pub(crate) use journal::latest;
pub use plan::{Ack, Act, Next, Progress, next};
pub use present::saga;
