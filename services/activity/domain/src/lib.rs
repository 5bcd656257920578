//! What `activity` decides, without I/O, clock or randomness: transitions, endings, leases, lapses, pauses, back-off and
//! the projection of facts.

pub mod backoff;
pub mod facts;
pub mod finish;
pub mod lapse;
pub mod lease;
pub mod limits;
pub mod panels;
pub mod pause;
pub mod projection;
pub mod reasons;
pub mod transition;
