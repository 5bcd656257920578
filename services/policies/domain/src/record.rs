//! Checks of what was recorded against what was decided.

use crate::{
    facts::EndedQuestion,
    obligation::{self, Obligation},
    words::{Severity, StepOutcome, Verdict, ViolationKind},
};

/// What was authorized for a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized {
    /// The decision.
    pub decision_id: String,
    /// What the agent was told.
    pub effective_verdict: Verdict,
    /// Digest of the arguments in hex; empty: none was given.
    pub arguments_digest: String,
    /// What it had to apply.
    pub obligations: Vec<Obligation>,
    /// Whether rules were evaluated for it: then monitors know of the step.
    pub evaluated: bool,
}

impl Authorized {
    /// Whether the step was allowed, and monitors know of it.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.evaluated && matches!(self.effective_verdict, Verdict::Allow | Verdict::Modify)
    }
}

/// A violation found on the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordViolation {
    /// Its code: the kind, or the kind and the obligation.
    pub code: String,
    /// What kind.
    pub kind: ViolationKind,
    /// How bad.
    pub severity: Severity,
    /// What was found.
    pub value: String,
    /// What would have been right.
    pub threshold: String,
    /// In words.
    pub reason: String,
}

/// Compares a finished step with its decision; `None`: no decision of this step is known here. A step that names a
/// decision which is not known was decided by the spine while this domain was silent: the trace vouches for it.
#[must_use]
pub fn check(fact: &EndedQuestion, authorized: Option<&Authorized>) -> Vec<RecordViolation> {
    let named = !fact.decision_id.is_empty();
    let known = authorized.filter(|a| !named || a.decision_id == fact.decision_id);
    let authorized = match known {
        _ if fact.outcome == StepOutcome::Skipped => return Vec::new(),
        None if named => return Vec::new(),
        Some(a) if matches!(a.effective_verdict, Verdict::Allow | Verdict::Modify) => a,
        _ => {
            let value = if named { fact.decision_id.as_str() } else { "no decision" };
            let text = "the step was recorded without a decision that allowed it";
            return vec![violation(ViolationKind::UnauthorizedStep, "", value, "an allowing decision", text)];
        }
    };
    let mut found = Vec::new();
    let changed = !fact.input_digest.is_empty()
        && !authorized.arguments_digest.is_empty()
        && fact.input_digest != authorized.arguments_digest;
    let may_change = authorized.obligations.iter().any(|o| matches!(o.name.as_str(), "redact" | "drop"));
    if changed && !may_change {
        let text = "the step was done with other arguments than the authorized ones";
        let (is, was) = (fact.input_digest.as_str(), authorized.arguments_digest.as_str());
        found.push(violation(ViolationKind::ActionMismatch, "", is, was, text));
    }
    // OBSERVE_ONLY: obligations are advice.
    if authorized.effective_verdict == Verdict::Modify {
        let unmet = authorized.obligations.iter().filter(|o| obligation::is_for_modify(&o.name));
        found.extend(unmet.filter_map(|o| unmet_by(fact, o, changed)));
    }
    found
}

fn violation(kind: ViolationKind, of: &str, value: &str, threshold: &str, reason: &str) -> RecordViolation {
    let code = if of.is_empty() { kind.as_str().to_owned() } else { format!("{}:{of}", kind.as_str()) };
    RecordViolation {
        code,
        kind,
        severity: Severity::High,
        value: value.chars().take(256).collect(),
        threshold: threshold.chars().take(256).collect(),
        reason: reason.to_owned(),
    }
}

fn unmet_by(fact: &EndedQuestion, o: &Obligation, changed: bool) -> Option<RecordViolation> {
    let arg = o.args.first().map_or("", String::as_str);
    let cap = arg.parse::<i64>().unwrap_or(i64::MAX);
    let named = fact.obligations_applied.contains(&o.name);
    let (met, value, threshold) = match o.name.as_str() {
        "redact" | "drop" => {
            (named && changed, format!("named {named}, changed {changed}"), "applied".to_owned())
        }
        "cap_tokens" => (fact.tokens_output <= cap, fact.tokens_output.to_string(), cap.to_string()),
        "cap_cost" => (named && fact.cost_microusd <= cap, fact.cost_microusd.to_string(), cap.to_string()),
        "cap_duration" => {
            let allowed = cap.saturating_add(cap / 10);
            (named && fact.duration_ms <= allowed, fact.duration_ms.to_string(), allowed.to_string())
        }
        "use_model" => (fact.model == arg, fact.model.clone(), arg.to_owned()),
        _ => (named, format!("named {named}"), "applied".to_owned()),
    };
    if met {
        return None;
    }
    let text = format!("the obligation `{}` was not met", o.name);
    Some(violation(ViolationKind::ObligationUnmet, &o.name, &value, &threshold, &text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        facts::{Resource, Totals},
        words::{ResourceType, StepKind},
    };

    fn fact() -> EndedQuestion {
        EndedQuestion {
            authorized: true,
            cost_microusd: 10,
            decision_id: "d1".into(),
            duration_ms: 110,
            error_code: String::new(),
            input_digest: "aa".into(),
            kind: StepKind::LlmCall,
            model: "m1".into(),
            obligations_applied: vec!["cap_duration".into()],
            occurred_at: 0,
            outcome: StepOutcome::Success,
            output_labels: vec![],
            output_size: 0,
            resource: Resource::unregistered(ResourceType::Model, "m1"),
            retry_count: 0,
            seq: 1,
            step_index: 0,
            tokens_input: 0,
            tokens_output: 100,
            totals: Totals::default(),
        }
    }

    fn allowed(obligations: &[(&str, &str)]) -> Authorized {
        let item = |(n, a): &(&str, &str)| Obligation { name: (*n).into(), args: vec![(*a).into()] };
        let verdict = if obligations.is_empty() { Verdict::Allow } else { Verdict::Modify };
        Authorized {
            decision_id: "d1".into(),
            effective_verdict: verdict,
            arguments_digest: "aa".into(),
            obligations: obligations.iter().map(item).collect(),
            evaluated: true,
        }
    }

    fn codes(fact: &EndedQuestion, a: Option<&Authorized>) -> Vec<String> {
        check(fact, a).into_iter().map(|v| v.code).collect()
    }

    #[test]
    fn each_broken_obligation_is_one_violation() {
        assert!(codes(&fact(), Some(&allowed(&[]))).is_empty());
        let all = [
            ("cap_tokens", "99"),
            ("cap_cost", "10"),
            ("cap_duration", "100"),
            ("use_model", "m2"),
            ("dry_run", ""),
        ];
        let unmet = codes(&fact(), Some(&allowed(&all)));
        let expected = [
            "OBLIGATION_UNMET:cap_tokens",
            "OBLIGATION_UNMET:cap_cost",
            "OBLIGATION_UNMET:use_model",
            "OBLIGATION_UNMET:dry_run",
        ];
        assert_eq!(unmet, expected);
    }

    #[test]
    fn steps_without_an_allowing_decision_and_changed_arguments_are_found() {
        assert!(codes(&fact(), None).is_empty(), "the spine decided it");
        let mut unnamed = fact();
        unnamed.decision_id.clear();
        assert_eq!(codes(&unnamed, None), ["UNAUTHORIZED_STEP"]);
        let mut denied = allowed(&[]);
        denied.effective_verdict = Verdict::Deny;
        assert_eq!(codes(&fact(), Some(&denied)), ["UNAUTHORIZED_STEP"]);
        let mut other = fact();
        other.input_digest = "bb".into();
        assert_eq!(codes(&other, Some(&allowed(&[]))), ["ACTION_MISMATCH"]);
        other.obligations_applied.push("redact".into());
        assert!(codes(&other, Some(&allowed(&[("redact", "a.b")]))).is_empty());
        other.outcome = StepOutcome::Skipped;
        assert!(codes(&other, None).is_empty());
    }
}
