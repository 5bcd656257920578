//! The service as the spine sees it, on both engines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod analysis;
mod approval_terms;
mod approvals;
mod contract;
mod decided;
mod drafts;
mod explained;
mod harness;
mod health;
mod labels;
mod lessons;
mod preventions;
mod proposals;
mod recount;
mod rules;
mod runs;
mod sandbox;
mod sequences;
mod shadows;
mod snapshots;
mod steps;
mod stores;
mod templates;
mod violations;
