//! The service as the spine sees it, on both engines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod analysis;
mod approvals;
mod contract;
mod explained;
mod harness;
mod health;
mod lessons;
mod preventions;
mod proposals;
mod rules;
mod runs;
mod sandbox;
mod sequences;
mod shadows;
mod steps;
mod stores;
mod templates;
mod violations;
