//! What a seal says of the records, and what is to be found in them; read once, in the order of positions.

use std::collections::BTreeMap;

use contracts_logs::v1::{McpEventKind, ProofFinding, TraceRecord, trace_record};

use super::{Columns, Totals, llm::LlmCalls, steps::StepIndices};
use crate::behaviour::Behaviour;

/// The records read so far.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Behaviour signature.
    pub behaviour: Behaviour,
    /// Sums.
    pub totals: Totals,
    /// Calls of language models.
    pub llm: LlmCalls,
    calls: BTreeMap<String, u64>,
    unauthorized: (u64, u64),
    steps: StepIndices,
}

impl Summary {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &TraceRecord, columns: &Columns<'_>) {
        self.totals.add(columns);
        if columns.unauthorized {
            self.unauthorized.1 += 1;
            if self.unauthorized.0 == 0 {
                self.unauthorized.0 = record.position;
            }
        }
        match &record.body {
            Some(trace_record::Body::Decision(_)) => self.seen(record.step_index),
            Some(trace_record::Body::Step(step)) => {
                self.seen(record.step_index);
                self.llm.take(step);
                self.behaviour.step(record.step_index.unwrap_or_default(), record.position, step);
            }
            Some(trace_record::Body::Resolution(resolution)) => self.behaviour.resolution(resolution),
            Some(trace_record::Body::Mcp(event)) => match McpEventKind::try_from(event.event) {
                Ok(McpEventKind::Started) => {
                    self.calls.insert(event.call_id.clone(), record.position);
                }
                Ok(McpEventKind::Completed | McpEventKind::Failed) => {
                    self.calls.remove(&event.call_id);
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn seen(&mut self, index: Option<u32>) {
        if let Some(index) = index {
            self.steps.insert(index);
        }
    }

    /// Findings that don't change the status of a proof, in the order of their codes.
    #[must_use]
    pub fn findings(&self) -> Vec<ProofFinding> {
        let finding = |code: &str, at: u64, count: u64| ProofFinding { code: code.to_owned(), at, count };
        let mut found = Vec::new();
        let ambiguous: Vec<u64> = self.behaviour.unresolved().collect();
        if let Some(first) = ambiguous.first() {
            found.push(finding("AMBIGUOUS_STEPS", *first, ambiguous.len() as u64));
        }
        if let Some((first, count)) = self.steps.missing() {
            found.push(finding("STEP_GAP", u64::from(first), count));
        }
        if let Some(first) = self.calls.values().min() {
            found.push(finding("TOOL_CALL_OPEN", *first, self.calls.len() as u64));
        }
        if self.unauthorized.1 > 0 {
            found.push(finding("UNAUTHORIZED_STEPS", self.unauthorized.0, self.unauthorized.1));
        }
        found
    }
}
