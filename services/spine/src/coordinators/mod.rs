//! Read across domains: bridges only, no state, sources asked at the same time.

pub mod bundle;
pub mod evidence;
mod figures;
pub mod parts;
pub mod proof;
mod protojson;
pub mod replays;
mod source;
pub mod view;
pub mod watch;
