//! Decision documents: what the decider kept of each decision on the trace.

use std::collections::BTreeMap;

use contracts_common::common::v1::{DecisionSource, Verdict};
use contracts_logs::v1::Decision;
use serde_json::{Map, Value};

use super::report::Findings;
use crate::chain;

/// The decisions of the traces, and the documents that were found for them.
#[derive(Default)]
pub(super) struct Decided {
    records: BTreeMap<String, Decision>,
    rows: BTreeMap<String, Vec<u8>>,
    inputs: BTreeMap<String, Vec<u8>>,
}

impl Decided {
    /// A decision on a trace.
    pub(super) fn take(&mut self, decision: Decision) {
        self.records.insert(decision.decision_id.clone(), decision);
    }

    /// A line of section `decision`; false when it can't be one.
    pub(super) fn document(&mut self, t: &str, bytes: Vec<u8>) -> bool {
        let (id, documents) = match t.strip_suffix(".inputs") {
            Some(id) => (id, &mut self.inputs),
            None => (t, &mut self.rows),
        };
        documents.insert(id.to_owned(), bytes).is_none()
    }

    /// Compares documents with records. `excused`: the manifest says that decisions are missing.
    pub(super) fn finish(&self, excused: bool, found: &mut Findings) {
        for (id, decision) in &self.records {
            match self.rows.get(id) {
                None if excused => found.warn("DECISION_MISSING", id.as_str()),
                None => found.fail("DECISION_MISSING", id.as_str()),
                Some(row) if !agrees(decision, row) => found.fail("DECISION_DIGEST", id.as_str()),
                Some(_) => self.check_inputs(id, decision, found),
            }
        }
        let strangers = self.rows.keys().chain(self.inputs.keys());
        for id in strangers.filter(|id| !self.records.contains_key(*id)) {
            found.fail("DECISION_DIGEST", format!("{id} is not on the trace"));
        }
    }

    fn check_inputs(&self, id: &str, decision: &Decision, found: &mut Findings) {
        let Some(inputs) = self.inputs.get(id) else {
            found.warn("INPUTS_ERASED", id);
            return;
        };
        let digests = [chain::policy_facts_digest(inputs), chain::control_facts_digest(inputs)];
        let named = decision.facts_digest.as_ref();
        if !named.is_empty() && !digests.iter().any(|digest| digest.as_bytes() == named) {
            found.fail("DECISION_DIGEST", format!("{id}.inputs"));
        }
    }
}

/// The reason of a decision that the kernel made because a bypass was not confirmed: neither verdict nor rules are the
/// row's.
const UNCONFIRMED: &str = "BYPASS_UNCONFIRMED";

/// Whether the row is that of the decision: the same snapshot and facts, and where policies decided, one of the verdicts
/// that it gave, for rules that the record names. Which of the verdicts holds is the kernel's choice: a bypass that is not
/// confirmed does not count.
fn agrees(decision: &Decision, row: &[u8]) -> bool {
    let Ok(Value::Object(row)) = serde_json::from_slice::<Value>(row) else { return false };
    let text = |field: &str| row.get(field).and_then(Value::as_str);
    if text("decision_id") != Some(decision.decision_id.as_str()) {
        return false;
    }
    let named =
        [("snapshot_digest", &decision.policy_snapshot_digest), ("inputs_digest", &decision.facts_digest)];
    for (field, digest) in named {
        if !digest.is_empty() && text(field).is_some_and(|told| told != hex::encode(digest)) {
            return false;
        }
    }
    if decision.source != DecisionSource::Policy as i32 || decision.reason == UNCONFIRMED {
        return true;
    }
    if !rules(&row).all(|rule| decision.rule_ids.iter().any(|named| named == rule)) {
        return false;
    }
    let told = ["effective_verdict", "verdict", "verdict_without_bypass"];
    let mut told = told.iter().filter_map(|field| row.get(*field)).peekable();
    told.peek().is_none() || told.any(|value| is_verdict(value, decision.verdict))
}

/// The rules that a row gives as reasons. The record may name more: limits have reasons too.
fn rules(row: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let reasons = row.get("reasons").and_then(Value::as_array).into_iter().flatten();
    reasons.filter_map(|reason| reason.get("source_id")?.as_str()).filter(|id| !id.is_empty())
}

/// Whether a value of a row, a number or a name, is this verdict.
fn is_verdict(value: &Value, verdict: i32) -> bool {
    let name = Verdict::try_from(verdict).map(|v| v.as_str_name()).unwrap_or_default();
    match value {
        Value::Number(number) => number.as_i64() == Some(i64::from(verdict)),
        Value::String(told) => name == told || name.strip_prefix("VERDICT_") == Some(told),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_agrees_with_its_decision_alone() {
        let decision = Decision {
            decision_id: "d1".into(),
            verdict: Verdict::Allow.into(),
            source: DecisionSource::Policy.into(),
            policy_snapshot_digest: vec![1; 32].into(),
            ..Default::default()
        };
        let row = |id: &str, verdict: &str, snapshot: u8| {
            let digest = hex::encode([snapshot; 32]);
            format!(r#"{{"decision_id":"{id}","effective_verdict":{verdict},"snapshot_digest":"{digest}"}}"#)
        };
        assert!(agrees(&decision, row("d1", "1", 1).as_bytes()));
        assert!(agrees(&decision, row("d1", r#""ALLOW""#, 1).as_bytes()));
        assert!(!agrees(&decision, row("d2", "1", 1).as_bytes()), "another decision");
        assert!(!agrees(&decision, row("d1", "2", 1).as_bytes()), "another verdict");
        assert!(!agrees(&decision, row("d1", "1", 2).as_bytes()), "another snapshot");
        assert!(!agrees(&decision, b"no row"));
    }

    #[test]
    fn a_row_gives_no_rule_that_its_record_does_not_name() {
        let mut decision = Decision {
            decision_id: "d1".into(),
            verdict: Verdict::Deny.into(),
            source: DecisionSource::Policy.into(),
            rule_ids: vec!["rule-1".into(), "limit-1".into()],
            ..Default::default()
        };
        let row = |rule: &str| {
            format!(r#"{{"decision_id":"d1","reasons":[{{"source_id":"{rule}"}}],"verdict":"DENY"}}"#)
        };
        assert!(agrees(&decision, row("rule-1").as_bytes()));
        assert!(agrees(&decision, row("").as_bytes()), "what no rule carries");
        assert!(!agrees(&decision, row("rule-2").as_bytes()), "another rule");
        decision.source = DecisionSource::Limit.into();
        assert!(agrees(&decision, row("rule-2").as_bytes()), "the limits decided");
        decision.source = DecisionSource::Policy.into();
        (decision.reason, decision.verdict) = (UNCONFIRMED.into(), Verdict::Defer.into());
        assert!(agrees(&decision, row("rule-2").as_bytes()), "the kernel decided");
    }
}
