//! Sequence rules: a monitor, which is state over the steps of a run, and a restriction in Cedar that reads it.
//!
//! A step counts from the decision that allows it; what the trace says about it afterwards corrects that. So two steps
//! that are asked about at once never both take the last place, and a replay needs nothing but decisions and facts.

mod body;
mod book;
mod monitor;
mod state;
mod window;

pub use body::{MAX_RULES, Sequence};
pub use book::{Book, Held, MAX_HELD, Open, Place, actions_of, synthesized};
pub(crate) use monitor::{BEFORE_HEAD, text_of};
pub use monitor::{Head, Hit, Monitor, Role, labels};
pub use state::{At, Limits, NO_STEP, State};
pub use window::{Measure, Window};
