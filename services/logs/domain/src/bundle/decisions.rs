//! Decision documents: what the decider kept of each decision on the trace.

use std::collections::BTreeMap;

use contracts_common::common::v1::{DecisionSource, Verdict};
use contracts_logs::v1::Decision;
use serde_json::Value;

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

/// Whether the row is that of the decision, and where policies alone decided, says what the trace says.
fn agrees(decision: &Decision, row: &[u8]) -> bool {
    let Ok(Value::Object(row)) = serde_json::from_slice::<Value>(row) else { return false };
    let text = |field: &str| row.get(field).and_then(Value::as_str);
    if text("decision_id") != Some(decision.decision_id.as_str()) {
        return false;
    }
    let snapshot = hex::encode(&decision.policy_snapshot_digest);
    if !snapshot.is_empty() && text("snapshot_digest").is_some_and(|told| told != snapshot) {
        return false;
    }
    if decision.source != DecisionSource::Policy as i32 {
        return true;
    }
    let told = text("effective_verdict").or_else(|| text("verdict"));
    let verdict = Verdict::try_from(decision.verdict).map(|v| v.as_str_name()).unwrap_or_default();
    told.is_none_or(|told| verdict == told || verdict.strip_prefix("VERDICT_") == Some(told))
}
