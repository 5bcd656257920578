//! A failure with everything its receiver needs.

use std::{collections::BTreeMap, error::Error, fmt, sync::Arc, time::Duration};

use crate::{Kind, Reason};

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, e.g. `estimate.cost_microusd` or `items[3].name`.
    pub field: String,
    /// Reason code of this violation, e.g. `ENUM_UNKNOWN`.
    pub reason: &'static str,
    /// What is wrong, for a person.
    pub description: String,
}

/// A state that forbids an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreconditionViolation {
    /// What kind of precondition, usually the reason's name.
    pub kind: String,
    /// What it is about, e.g. `runs/0190…`.
    pub subject: String,
    /// What would have to hold.
    pub description: String,
}

/// A quota that is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaViolation {
    /// What the quota is on, e.g. a limit's id.
    pub subject: String,
    /// Which quota, with its numbers.
    pub description: String,
}

/// Why an operation failed. Cheap to move; clone shares the source.
#[derive(Debug, Clone)]
pub struct Fault {
    inner: Box<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    reason: &'static Reason,
    message: String,
    metadata: BTreeMap<&'static str, String>,
    fields: Vec<FieldViolation>,
    preconditions: Vec<PreconditionViolation>,
    quotas: Vec<QuotaViolation>,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Fault {
    /// A failure for `reason`; `message` is shown to the caller, so it names no internals.
    pub fn new(reason: &'static Reason, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                reason,
                message: message.into(),
                metadata: BTreeMap::new(),
                fields: Vec::new(),
                preconditions: Vec::new(),
                quotas: Vec::new(),
                retry_after: None,
                source: None,
            }),
        }
    }

    /// Adds machine-readable detail to `ErrorInfo.metadata`.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.inner.metadata.insert(key, value.to_string());
        self
    }

    /// Adds a field violation.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, reason: &'static str, what: impl Into<String>) -> Self {
        self.inner.fields.push(FieldViolation { field: field.into(), reason, description: what.into() });
        self
    }

    /// Adds a precondition violation.
    #[must_use]
    pub fn precondition(mut self, subject: impl Into<String>, what: impl Into<String>) -> Self {
        let kind = self.inner.reason.name.to_owned();
        let violation = PreconditionViolation { kind, subject: subject.into(), description: what.into() };
        self.inner.preconditions.push(violation);
        self
    }

    /// Adds a quota violation.
    #[must_use]
    pub fn quota(mut self, subject: impl Into<String>, what: impl Into<String>) -> Self {
        self.inner.quotas.push(QuotaViolation { subject: subject.into(), description: what.into() });
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.inner.retry_after = Some(after);
        self
    }

    /// Keeps the cause for the log; it is never shown to the caller.
    #[must_use]
    pub fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.inner.source = Some(Arc::new(source));
        self
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> &'static Reason {
        self.inner.reason
    }

    /// The kind of the reason.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.reason.kind
    }

    /// Whether this failure is for `reason`.
    #[must_use]
    pub fn is(&self, reason: &'static Reason) -> bool {
        self.inner.reason == reason
    }

    /// The message for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Machine-readable detail.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<&'static str, String> {
        &self.inner.metadata
    }

    /// Field violations.
    #[must_use]
    pub fn fields(&self) -> &[FieldViolation] {
        &self.inner.fields
    }

    /// Precondition violations.
    #[must_use]
    pub fn preconditions(&self) -> &[PreconditionViolation] {
        &self.inner.preconditions
    }

    /// Quota violations.
    #[must_use]
    pub fn quotas(&self) -> &[QuotaViolation] {
        &self.inner.quotas
    }

    /// When to try again.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        self.inner.retry_after
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.inner.reason.name, self.inner.message)?;
        for v in &self.inner.fields {
            write!(f, "; {}: {}", v.field, v.description)?;
        }
        Ok(())
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.source.as_ref().map(|s| s.as_ref() as &(dyn Error + 'static))
    }
}

/// Collects every violation of a request before it is refused, so that the caller sees all of them at once.
#[derive(Debug, Default)]
pub struct Violations {
    found: Vec<FieldViolation>,
}

impl Violations {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn add(&mut self, field: impl Into<String>, reason: &'static str, what: impl Into<String>) {
        self.found.push(FieldViolation { field: field.into(), reason, description: what.into() });
    }

    /// Adds one unless `holds`.
    pub fn require(&mut self, holds: bool, field: &str, reason: &'static str, what: &str) {
        if !holds {
            self.add(field, reason, what);
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `Ok` when nothing was found, else one fault with all of it. The fault's reason is `reason`.
    ///
    /// # Errors
    /// When at least one violation was added.
    pub fn into_result(self, reason: &'static Reason) -> Result<(), Fault> {
        if self.found.is_empty() {
            return Ok(());
        }
        let text = format!("{} field(s) of the request are invalid", self.found.len());
        let mut fault = Fault::new(reason, text);
        fault.inner.fields = self.found;
        Err(fault)
    }
}
