//! What is wrong with a contract.

use std::fmt;

/// One thing wrong with the contracts in a descriptor set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The RPC, event or file it is about.
    pub subject: String,
    /// Its code, one of the constants of this type.
    pub code: &'static str,
    /// What is wrong, for a person.
    pub message: String,
}

impl Problem {
    /// The descriptor set can't be read, or names collide.
    pub const DESCRIPTOR_INVALID: &'static str = "DESCRIPTOR_INVALID";
    /// An RPC has no contract.
    pub const CONTRACT_MISSING: &'static str = "CONTRACT_MISSING";
    /// An enum of a contract is 0 or unknown.
    pub const ENUM_UNSPECIFIED: &'static str = "ENUM_UNSPECIFIED";
    /// Two operations or events have the same name.
    pub const NAME_DUPLICATE: &'static str = "NAME_DUPLICATE";
    /// A `calls` entry does not exist.
    pub const CALL_UNKNOWN: &'static str = "CALL_UNKNOWN";
    /// A domain RPC declares calls.
    pub const DOMAIN_CALLS: &'static str = "DOMAIN_CALLS";
    /// A KEYED request lacks a field of its key.
    pub const KEY_MISSING: &'static str = "KEY_MISSING";
    /// The permission is empty or not `resource.verb`.
    pub const PERMISSION_INVALID: &'static str = "PERMISSION_INVALID";
    /// The exposure contradicts the rest of the contract.
    pub const EXPOSURE_INVALID: &'static str = "EXPOSURE_INVALID";
    /// The RPC writes but says that it has no side effects.
    pub const IDEMPOTENCY_INVALID: &'static str = "IDEMPOTENCY_INVALID";
    /// A unary RPC has no deadline.
    pub const DEADLINE_MISSING: &'static str = "DEADLINE_MISSING";
    /// The name or version of an event is malformed.
    pub const EVENT_INVALID: &'static str = "EVENT_INVALID";

    pub(crate) fn new(subject: &str, code: &'static str, message: impl Into<String>) -> Self {
        Self { subject: subject.to_owned(), code, message: message.into() }
    }
}

/// Every problem of a registry at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryError {
    problems: Vec<Problem>,
}

impl RegistryError {
    pub(crate) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    /// The problems, in the order they were found.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} problem(s) in the operation contracts", self.problems.len())?;
        for p in &self.problems {
            write!(f, "\n  {} {}: {}", p.code, p.subject, p.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for RegistryError {}
