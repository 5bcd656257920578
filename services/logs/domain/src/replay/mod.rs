//! Replays: a recorded attempt beside what somebody did again, step by step and as a whole.

mod fold;
mod judge;
mod recording;
mod shape;

pub use fold::{Found, found};
pub use judge::{Held, Judged, judge};
pub use recording::{Plan, Recorded, Recording, default_key};

/// Most steps of an attempt that is replayed.
pub const MAX_STEPS: usize = 10_000;
/// Most circumstances that are listed.
pub const MAX_DRIFT: usize = 100;
