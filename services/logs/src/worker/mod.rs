//! Work beside the calls.

mod answers;
mod checkpoints;
mod exports;
mod retention;

pub use answers::forget_answers;
pub use checkpoints::sign_checkpoints;
pub use exports::make_exports;
pub use retention::expire_payloads;
