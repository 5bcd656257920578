//! What can be proven about a set of rules without running it: rules that can never match, rules that decide nothing
//! because another always decides first, rules that contradict each other.
//!
//! Conditions are normalized to at most 64 conjunctions of atoms (comparison with a literal, membership, `like`, `has`,
//! entity tests). What lies outside is named, and nothing is claimed about the rule that holds it: a finding is only
//! made when it is proven.

mod atoms;
mod constraints;
mod dependencies;
mod domain;
mod metrics;
mod pairs;
mod set;

pub(crate) use atoms::{Pattern, path, pattern};
pub use dependencies::{Dependency, dependencies};
pub use domain::Domain;
pub use set::{Analysis, SetFinding, analyze};
