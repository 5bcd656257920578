//! OpenTelemetry spans: which of them are steps of a run, and what they say about them.

mod attributes;
mod meaning;
pub mod observed;
mod outcome;
mod price;
mod step;

pub use attributes::{Attributes, Value};
pub use meaning::Meaning;
pub use price::Prices;
pub use step::{Content, Described};

use contracts_common::common::v1::StepOutcome;
use runspine_types::{Digest, Micros, is_uuid_v7};

/// The most attributes that a span can have.
pub const MAX_ATTRIBUTES: usize = 512;

/// Why a span is refused for good. Its name is what the exporter is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// An id has another length than it must, or is all zero.
    BadId,
    /// The span has not ended.
    NoEnd,
    /// It ended before it began.
    EndBeforeStart,
    /// A number of tokens or a cost is negative, or no whole number.
    BadCount,
    /// It has more than [`MAX_ATTRIBUTES`] attributes.
    TooManyAttributes,
    /// The same span was stored with other content.
    SpanConflict,
    /// No run of the tenant is the one that it belongs to.
    UngovernedRun,
    /// Nothing decided about the step, and the run is STRICT.
    UngovernedStep,
}

impl Refusal {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BadId => "BAD_ID",
            Self::NoEnd => "NO_END",
            Self::EndBeforeStart => "END_BEFORE_START",
            Self::BadCount => "BAD_COUNT",
            Self::TooManyAttributes => "TOO_MANY_ATTRIBUTES",
            Self::SpanConflict => "SPAN_CONFLICT",
            Self::UngovernedRun => "UNGOVERNED_RUN",
            Self::UngovernedStep => "UNGOVERNED_STEP",
        }
    }
}

/// How a span ended, as its status says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Status {
    /// It says nothing.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// Not well.
    Error,
}

/// A span as it came: nothing about it was checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Span {
    /// Id of its OpenTelemetry trace, 16 bytes.
    pub trace_id: Vec<u8>,
    /// Its id, 8 bytes.
    pub span_id: Vec<u8>,
    /// Id of its parent, 8 bytes. Empty: it is a root.
    pub parent_id: Vec<u8>,
    /// Its name.
    pub name: String,
    /// When it began, in nanoseconds since 1970.
    pub started_ns: u64,
    /// When it ended; 0: it did not.
    pub ended_ns: u64,
    /// How it ended.
    pub status: Status,
    /// What it says of itself.
    pub attributes: Attributes,
    /// How many attributes it came with.
    pub attribute_count: usize,
    /// What is said of whoever sends it.
    pub resource: std::sync::Arc<Attributes>,
    /// Digest of all that it says.
    pub digest: Digest,
}

impl Span {
    /// Its name in records: `traceid:spanid`, lower-case hex.
    #[must_use]
    pub fn external_ref(&self) -> String {
        format!("{}:{}", hex::encode(&self.trace_id), hex::encode(&self.span_id))
    }

    /// The same of its parent. Empty: it is a root.
    #[must_use]
    pub fn parent_ref(&self) -> String {
        if self.is_root() {
            return String::new();
        }
        format!("{}:{}", hex::encode(&self.trace_id), hex::encode(&self.parent_id))
    }

    /// Whether it has no parent.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.parent_id.is_empty()
    }

    /// When it began, whole microseconds.
    #[must_use]
    pub fn started_at(&self) -> Micros {
        micros(self.started_ns)
    }

    /// When it ended, whole microseconds.
    #[must_use]
    pub fn ended_at(&self) -> Micros {
        micros(self.ended_ns)
    }

    /// The run that it says it belongs to: the span before its resource.
    #[must_use]
    pub fn run_id(&self) -> Option<&str> {
        let own = self.attributes.text("runspine.run_id");
        own.or_else(|| self.resource.text("runspine.run_id")).filter(|id| is_uuid_v7(id))
    }

    /// The attempt that it says it belongs to; `None`: the latest.
    #[must_use]
    pub fn attempt(&self) -> Option<u32> {
        let named = |of: &Attributes| of.whole(&["runspine.attempt"]).ok().flatten();
        let attempt = named(&self.attributes).or_else(|| named(&self.resource));
        attempt.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0)
    }

    /// The decision that it was done under.
    #[must_use]
    pub fn decision_id(&self) -> Option<&str> {
        self.attributes.text("runspine.decision_id")
    }

    /// Its OpenTelemetry trace, lower-case hex.
    #[must_use]
    pub fn trace(&self) -> String {
        hex::encode(&self.trace_id)
    }

    /// Whether something of an agent is said of it: a root that only holds requests of any kind together is none.
    #[must_use]
    pub fn is_of_an_agent(&self) -> bool {
        self.attributes.text("gen_ai.operation.name").is_some()
            || self.attributes.text("openinference.span.kind").is_some()
            || self.run_id().is_some()
    }

    /// What a root says of its run: that it failed, with a code, or (`None`) that it went well.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let (outcome, _, code) = outcome::of(self);
        (outcome == StepOutcome::Failure).then_some(code)
    }

    /// The call of a tool that it is, as the model named it.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.attributes.first(&["gen_ai.tool.call.id", "tool_call.id"])
    }

    /// What its form says, before anything is looked up.
    ///
    /// # Errors
    /// With the first thing that makes it unusable.
    pub fn check(&self) -> Result<(), Refusal> {
        let id = |id: &[u8], length| id.len() == length && id.iter().any(|b| *b != 0);
        let parented = self.parent_id.is_empty() || id(&self.parent_id, 8);
        if !(id(&self.trace_id, 16) && id(&self.span_id, 8) && parented) {
            return Err(Refusal::BadId);
        }
        if self.ended_ns == 0 {
            return Err(Refusal::NoEnd);
        }
        if self.ended_ns < self.started_ns {
            return Err(Refusal::EndBeforeStart);
        }
        if self.attribute_count > MAX_ATTRIBUTES {
            return Err(Refusal::TooManyAttributes);
        }
        Ok(())
    }
}

/// The order of the spans of one request: when they began, then by id, whatever order they came in.
#[must_use]
pub fn place(span: &Span) -> (u64, &[u8]) {
    (span.started_ns, &span.span_id)
}

fn micros(nanos: u64) -> Micros {
    Micros(i64::try_from(nanos / 1_000).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
