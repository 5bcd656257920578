//! Work beside the calls.

mod answers;
mod archive;
mod checkpoints;
mod exports;
mod gauges;
mod keys;
mod life;
mod replays;
mod retention;

pub use answers::forget_answers;
pub use archive::archive_traces;
pub use checkpoints::sign_checkpoints;
pub use exports::make_exports;
pub use gauges::sample;
pub use keys::follow_keys;
pub use life::tell_of_life;
pub use replays::expire_replays;
pub use retention::expire_payloads;
