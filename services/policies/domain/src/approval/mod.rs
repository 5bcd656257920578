//! Approvals: one action, once, by people who did not ask for it.

mod state;
mod terms;
mod usable;
mod vote;

pub use state::{Approval, Event, next};
pub use terms::{Action, Terms, level_of};
pub use usable::{Asked, Held, Meeting, is_small, meet};
pub use vote::{Requester, Voter, check_open, check_vote};

/// How long an approval may be used after the last needed vote, microseconds.
pub const USE_WITHIN: i64 = 900 * 1_000_000;

/// How long a level is waited for before the next one is asked, microseconds.
pub const ESCALATE_AFTER: i64 = 300 * 1_000_000;

/// Requests of one step that may run out of time.
pub const MOST_REQUESTS: usize = 3;

/// Open requests of a tenant.
pub const MOST_OPEN: u64 = 1_000;
