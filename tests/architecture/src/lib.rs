//! The laws of the house as checks.
//!
//! Each check is a function over what it is given: sources, a dependency graph, descriptors. It says how many things it
//! looked at and what is wrong with them. The tests run each one twice: over the tree, where it must find nothing in a
//! sensible number of things, and over a planted violation, which it must find.

pub mod answers;
pub mod append_only;
pub mod dependencies;
pub mod documents;
pub mod duplicates;
pub mod events;
pub mod graph;
mod inspection;
pub mod manifests;
pub mod operations;
pub mod protos;
pub mod reasons;
pub mod recorded;
pub mod roles;
mod source;
pub mod sources;
pub mod spine;

pub use inspection::Inspection;
pub use source::{Source, mark_test_modules};

/// The domains: each owns its database and its contracts.
pub const DOMAINS: [&str; 5] = ["activity", "incidents", "policies", "logs", "controls"];
