//! Work beside the calls.

mod answers;

pub use answers::forget_answers;
