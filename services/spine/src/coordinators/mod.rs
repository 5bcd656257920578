//! Read across domains: bridges only, no state, sources asked at the same time.

pub mod bundle;
pub mod evidence;
pub mod proof;
mod source;
pub mod view;
pub mod watch;
