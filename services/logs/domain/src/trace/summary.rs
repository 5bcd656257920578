//! What a seal says of the records, and what is to be found in them; read once, in the order of positions.

use std::collections::BTreeMap;

use contracts_common::common::v1::StepKind;
use contracts_logs::v1::{McpEventKind, ProofFinding, Step, TraceRecord, trace_record};

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
    unpriced: (u64, u64),
    steps: StepIndices,
}

impl Summary {
    /// Nothing read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same of a run from `source`.
    #[must_use]
    pub fn of_source(source: i32) -> Self {
        Self { behaviour: Behaviour::of_source(source), ..Self::default() }
    }

    /// The same, to be compared with another run's.
    #[must_use]
    pub fn to_compare(source: i32) -> Self {
        Self { behaviour: Behaviour::to_compare(source), ..Self::default() }
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &TraceRecord, columns: &Columns<'_>) {
        self.totals.add(columns);
        if columns.unauthorized {
            count(&mut self.unauthorized, record.position);
        }
        match &record.body {
            Some(trace_record::Body::Decision(_)) => self.seen(record.step_index),
            Some(trace_record::Body::Step(step)) => {
                self.seen(record.step_index);
                if is_unpriced(step) {
                    count(&mut self.unpriced, record.position);
                }
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
        if self.unpriced.1 > 0 {
            found.push(finding("COST_UNKNOWN", self.unpriced.0, self.unpriced.1));
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

/// Counts a record, and keeps the first one's position.
fn count((first, count): &mut (u64, u64), position: u64) {
    if *count == 0 {
        *first = position;
    }
    *count += 1;
}

/// Whether a span told of the call of a model, and nobody what it cost.
fn is_unpriced(step: &Step) -> bool {
    step.kind == StepKind::LlmCall as i32
        && step.cost_estimated
        && step.cost_microusd == 0
        && !step.external_ref.is_empty()
}
