//! What a replica does without being asked.

pub mod approvals;
pub mod containment;
pub mod freezes;
mod outbox;
mod projection;
pub mod reconciler;
pub mod relay;

#[cfg(test)]
mod tests;
