//! The SOC 2 report of an attempt: which controls it is evidence for, and what exactly was verified.

use contracts_common::common::v1::TerminationReason;
use runspine_types::{Digest, Micros};
use serde_json::{Value, json};

/// What is known of the attempt. Everything here was read from sealed or chained rows.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The incident. Empty: none.
    pub incident_id: String,
    /// Category of the incident. Empty: none.
    pub category: &'static str,
    /// Whether the attempt ended at a limit.
    pub limit_breach: bool,
    /// Whether there is a trace.
    pub trace: bool,
    /// Tokens of every try.
    pub total_tokens: i64,
    /// From start to seal.
    pub total_duration_ms: i64,
    /// Whether the trace is VERIFIED, proved for this report.
    pub verified: bool,
    /// Whether the audit contract is COMPLETE.
    pub complete: bool,
    /// Digest of the seal.
    pub seal_digest: Option<Digest>,
    /// The key of the seal.
    pub key_id: String,
    /// When it was verified.
    pub verified_at: Micros,
}

/// How far a control is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Its evidence is there and proved.
    Demonstrated,
    /// Its evidence is there and not proved.
    Partial,
    /// Its evidence is not there.
    PendingReview,
}

impl Status {
    const fn word(self) -> &'static str {
        match self {
            Self::Demonstrated => "DEMONSTRATED",
            Self::Partial => "PARTIAL",
            Self::PendingReview => "PENDING_REVIEW",
        }
    }
}

/// The category of the incident that an attempt with this end led to; empty for a success.
#[must_use]
pub const fn category(reason: TerminationReason) -> &'static str {
    match reason {
        TerminationReason::Completed | TerminationReason::Unspecified => "",
        TerminationReason::PolicyBlock => "POLICY_VIOLATION",
        TerminationReason::BudgetExceeded => "BUDGET_EXCEEDED",
        TerminationReason::RateLimited => "RATE_LIMIT",
        TerminationReason::UserAbort | TerminationReason::Frozen => "MANUAL",
        TerminationReason::Timeout | TerminationReason::SystemFailure | TerminationReason::AgentFailure => {
            "EXECUTION_FAILURE"
        }
    }
}

/// A category of incidents by its name; any that has no controls of its own is one.
#[must_use]
pub fn known(category: &str) -> &'static str {
    const NAMED: [&str; 7] = [
        "EXECUTION_FAILURE",
        "BUDGET_EXCEEDED",
        "RATE_LIMIT",
        "POLICY_VIOLATION",
        "RESOURCE_EXHAUSTION",
        "MANUAL",
        "HALLUCINATION",
    ];
    NAMED.into_iter().find(|named| *named == category).unwrap_or("OTHER")
}

/// The controls that an incident of `category` is evidence for; an empty one is a successful run.
#[must_use]
pub fn controls(category: &str) -> &'static [&'static str] {
    match category {
        "EXECUTION_FAILURE" => &["CC7.1", "CC7.2", "CC7.3", "CC7.4", "PI1.1", "PI1.2"],
        "BUDGET_EXCEEDED" => &["CC7.1", "CC7.2", "CC7.3", "CC9.1", "CC9.2"],
        "RATE_LIMIT" => &["CC7.1", "CC7.2", "CC7.3", "A1.1"],
        "POLICY_VIOLATION" => &["CC7.1", "CC7.2", "CC7.3", "CC7.4", "CC6.1"],
        "RESOURCE_EXHAUSTION" => &["CC7.1", "CC7.2", "A1.1", "A1.2"],
        "MANUAL" => &["CC7.1", "CC7.2", "CC7.3", "CC7.5"],
        "HALLUCINATION" => &["PI1.1", "PI1.4", "CC7.1"],
        "" => &["PI1.1", "PI1.2", "PI1.3"],
        _ => &["CC7.1", "CC7.2", "CC7.3"],
    }
}

impl Facts {
    /// How far a control is shown.
    #[must_use]
    pub fn status(&self, control: &str) -> Status {
        let incident = !self.incident_id.is_empty();
        let present = match control.split('.').next().unwrap_or_default() {
            "CC6" | "CC7" => incident && self.trace,
            "PI1" => self.trace,
            "A1" => self.total_tokens > 0 || self.total_duration_ms > 0,
            "CC9" => incident && self.limit_breach,
            _ => false,
        };
        match (present, self.verified && self.complete) {
            (true, true) => Status::Demonstrated,
            (true, false) => Status::Partial,
            (false, _) => Status::PendingReview,
        }
    }

    /// What was verified, when, by which key; nothing that was not.
    #[must_use]
    pub fn attestation(&self) -> String {
        let at = self.verified_at.0;
        let trace = match (self.verified, self.seal_digest) {
            (true, Some(seal)) => format!(
                "The trace was verified at {at} µs since 1970 (UTC): every link and column agrees with seal {seal}, signed \
                 by key {}.",
                self.key_id
            ),
            _ => {
                format!("At {at} µs since 1970 (UTC) the trace did not verify; nothing is attested about it.")
            }
        };
        let contract = if self.complete {
            "The audit contract is closed with the verdict COMPLETE."
        } else {
            "The audit contract is not COMPLETE."
        };
        format!("{trace} {contract}")
    }
}

/// The controls with their status, as they stand in the report.
#[must_use]
pub fn report(facts: &Facts) -> Value {
    let mapped = controls(facts.category)
        .iter()
        .map(|control| json!({"control": control, "status": facts.status(control).word()}));
    Value::Array(mapped.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_proved_is_never_demonstrated() {
        let categories = [
            "EXECUTION_FAILURE",
            "BUDGET_EXCEEDED",
            "RATE_LIMIT",
            "POLICY_VIOLATION",
            "RESOURCE_EXHAUSTION",
            "MANUAL",
            "HALLUCINATION",
            "",
            "SOMETHING_NEW",
        ];
        for category in categories {
            for bits in 0..32_u32 {
                let bit = |n: u32| bits & (1 << n) != 0;
                let facts = Facts {
                    incident_id: if bit(0) { "in-1".into() } else { String::new() },
                    category,
                    trace: bit(1),
                    limit_breach: bit(2),
                    verified: bit(3),
                    complete: bit(4),
                    total_tokens: 1,
                    ..Facts::default()
                };
                for control in controls(category) {
                    let status = facts.status(control);
                    if !(facts.verified && facts.complete) {
                        assert_ne!(status, Status::Demonstrated, "{control} of {category}");
                    }
                    if control.starts_with("CC") && !bit(0) {
                        assert_eq!(status, Status::PendingReview, "no incident, no evidence");
                    }
                }
                assert!(!facts.attestation().contains("agrees"), "no seal, no claim");
            }
        }
    }
}
