//! Inspection constraints: what watching a run may keep. Everything is denied unless it was allowed.

/// Something that watching may want to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Storing an input payload.
    LogPrompt,
    /// Storing an output payload.
    LogResponse,
    /// Keeping personal data unredacted.
    CapturePii,
    /// Keeping secrets unredacted.
    AccessSecret,
}

impl Operation {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::LogPrompt, Self::LogResponse, Self::CapturePii, Self::AccessSecret];

    /// Its bit in a trace header.
    #[must_use]
    pub const fn bit(self) -> u32 {
        match self {
            Self::LogPrompt => 1,
            Self::LogResponse => 2,
            Self::CapturePii => 4,
            Self::AccessSecret => 8,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LogPrompt => "LOG_PROMPT",
            Self::LogResponse => "LOG_RESPONSE",
            Self::CapturePii => "CAPTURE_PII",
            Self::AccessSecret => "ACCESS_SECRET",
        }
    }

    /// The flag of a policy snapshot that allows it.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::LogPrompt => "allow_prompt_logging",
            Self::LogResponse => "allow_response_logging",
            Self::CapturePii => "allow_pii_capture",
            Self::AccessSecret => "allow_secret_access",
        }
    }
}

/// An operation that is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// The operation; `None` for one that nobody knows.
    pub operation: Option<Operation>,
}

impl Violation {
    /// The flag that would have to be set; empty for an operation that nobody knows.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.operation.map_or("", Operation::field)
    }

    /// What to tell a person.
    #[must_use]
    pub fn message(&self) -> String {
        match self.operation {
            Some(operation) => format!("{} needs {}, which is false", operation.name(), operation.field()),
            None => "the operation is not known, so it is denied".to_owned(),
        }
    }
}

/// The constraints of a run, or what is known of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Constraints(u32);

impl Constraints {
    /// What stands in a trace header. A missing block or snapshot is `None`: it allows nothing.
    #[must_use]
    pub fn of(bits: Option<u32>) -> Self {
        Self(bits.unwrap_or(0) & 0b1111)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether `operation` is allowed.
    #[must_use]
    pub const fn is_allowed(self, operation: Operation) -> bool {
        self.0 & operation.bit() != 0
    }

    /// The violation that `operation` would be; `None` for an operation that nobody knows is one too.
    #[must_use]
    pub fn check(self, operation: Option<Operation>) -> Option<Violation> {
        let allowed = operation.is_some_and(|operation| self.is_allowed(operation));
        (!allowed).then_some(Violation { operation })
    }

    /// The violations of several operations, in their order, repeated ones repeatedly.
    #[must_use]
    pub fn check_all(self, operations: &[Option<Operation>]) -> Vec<Violation> {
        operations.iter().filter_map(|operation| self.check(*operation)).collect()
    }

    /// What is allowed, in order.
    pub fn allowed(self) -> impl Iterator<Item = Operation> {
        Operation::ALL.into_iter().filter(move |operation| self.is_allowed(*operation))
    }

    /// What is denied, in order.
    pub fn denied(self) -> impl Iterator<Item = Operation> {
        Operation::ALL.into_iter().filter(move |operation| !self.is_allowed(*operation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_flag_sets_against_all_operations() {
        for bits in 0..16 {
            let constraints = Constraints::of(Some(bits));
            for operation in Operation::ALL {
                let allowed = bits & operation.bit() != 0;
                assert_eq!(constraints.is_allowed(operation), allowed);
                assert_eq!(constraints.check(Some(operation)).is_none(), allowed);
            }
            assert_eq!(constraints.allowed().count() + constraints.denied().count(), 4);
            assert!(constraints.denied().is_sorted() && constraints.allowed().is_sorted());
            assert!(constraints.check(None).is_some(), "an unknown operation is denied");
        }
        assert_eq!(Constraints::of(None).denied().count(), 4, "no snapshot allows nothing");
        assert_eq!(Constraints::of(Some(16)).bits(), 0, "bits that nobody knows allow nothing");
    }

    #[test]
    fn order_and_duplicates_are_kept() {
        let asked = [Operation::AccessSecret, Operation::LogPrompt, Operation::AccessSecret].map(Some);
        let found = Constraints::of(Some(1)).check_all(&asked);
        let names: Vec<_> = found.iter().map(Violation::field).collect();
        assert_eq!(names, ["allow_secret_access", "allow_secret_access"]);
        assert!(found[0].message().contains("ACCESS_SECRET"));
    }
}
