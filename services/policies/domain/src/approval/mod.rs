//! Approvals: one action, once, by people who did not ask for it.

mod state;
mod terms;
mod usable;
mod vote;

pub use state::{Approval, Event, next};
pub use terms::{Action, Defaults, Terms, level_of};
pub use usable::{Asked, Held, Meeting, is_small, meet};
pub use vote::{Requester, Voter, check_open, check_vote};

/// Requests of one step that may run out of time.
pub const MOST_REQUESTS: usize = 3;

/// Open requests of a tenant.
pub const MOST_OPEN: u64 = 1_000;
