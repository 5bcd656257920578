//! What a replica does without being asked.

pub mod containment;
pub mod freezes;
pub mod life;
mod observed;
mod outbox;
mod projection;
pub mod reactor;
pub mod reconciler;
pub mod relay;
pub mod uses;

#[cfg(test)]
mod tests;
