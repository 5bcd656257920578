//! Work beside the calls.

mod answers;
mod checkpoints;

pub use answers::forget_answers;
pub use checkpoints::sign_checkpoints;
