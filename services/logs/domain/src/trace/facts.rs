//! What the rules need to know of the records already on a trace.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use runspine_types::Digest;

use super::{Body, Item};
use contracts_logs::v1::trace_record;

/// What is kept in mind of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Its place.
    pub position: u64,
    /// The reporter's key.
    pub idempotency_key: String,
    /// Content digest.
    pub content: Digest,
    /// Digest of the caller's request.
    pub request_digest: Option<Digest>,
    /// Which body.
    pub body: Body,
    /// The step.
    pub step_index: Option<u32>,
    /// STEP: which try; DECISION: which ask.
    pub retry_count: u32,
    /// MCP: the event.
    pub kind: i32,
    /// STEP, RESOLUTION: the outcome; DECISION: the verdict.
    pub status: i32,
    /// Decision id, call id, span or the reference under which a step was recorded.
    pub reference: Option<String>,
    /// RESOLUTION: the position it settles.
    pub target: Option<u64>,
}

/// What has to be looked up before items can be judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Idempotency keys.
    pub keys: BTreeSet<String>,
    /// Step indices.
    pub steps: BTreeSet<u32>,
    /// Decision ids, call ids, spans.
    pub references: BTreeSet<String>,
    /// References under which steps were recorded.
    pub step_references: BTreeSet<String>,
    /// Positions.
    pub positions: BTreeSet<u64>,
}

impl Wanted {
    /// Forgets steps and positions that a trace with `count` records and `largest` as its largest step can't have.
    pub fn within(&mut self, largest: Option<u32>, count: u64) {
        self.steps.retain(|step| Some(*step) <= largest);
        self.positions.retain(|position| *position <= count);
    }

    /// Adds what judging `item` needs.
    pub fn add(&mut self, item: &Item) {
        self.keys.insert(item.idempotency_key.clone());
        match &item.body {
            trace_record::Body::Decision(b) => {
                self.steps.extend(item.step_index);
                self.references.insert(b.decision_id.clone());
            }
            trace_record::Body::Step(b) => {
                self.steps.extend(item.step_index);
                if !b.decision_id.is_empty() {
                    self.references.insert(b.decision_id.clone());
                }
            }
            trace_record::Body::Resolution(b) => {
                self.positions.insert(b.resolves_position);
                self.steps.extend(item.step_index);
            }
            trace_record::Body::Mcp(b) => {
                self.references.insert(b.call_id.clone());
            }
            trace_record::Body::Correction(b) => {
                self.positions.insert(b.corrects_position);
            }
            trace_record::Body::SpanLink(b) => {
                self.references.insert(b.external_ref.clone());
            }
            trace_record::Body::Control(_) => {}
        }
    }
}

/// The facts of one trace that were looked up or appended since.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    by_position: BTreeMap<u64, Fact>,
    by_key: HashMap<String, u64>,
    by_step: HashMap<u32, Vec<u64>>,
    by_reference: HashMap<String, Vec<u64>>,
}

impl Facts {
    /// Adds a fact; a position is known once. What a step is found by may come later than the step.
    pub fn insert(&mut self, fact: Fact) {
        let position = fact.position;
        if let Some(known) = self.by_position.get_mut(&position) {
            if known.reference.is_none()
                && let Some(reference) = fact.reference
            {
                self.by_reference.entry(reference.clone()).or_default().push(position);
                known.reference = Some(reference);
            }
            return;
        }
        self.by_key.insert(fact.idempotency_key.clone(), position);
        if let Some(step) = fact.step_index {
            self.by_step.entry(step).or_default().push(position);
        }
        if let Some(reference) = &fact.reference {
            self.by_reference.entry(reference.clone()).or_default().push(position);
        }
        self.by_position.insert(position, fact);
    }

    /// The record that came under `key`.
    #[must_use]
    pub fn keyed(&self, key: &str) -> Option<&Fact> {
        self.by_key.get(key).and_then(|p| self.by_position.get(p))
    }

    /// The record at `position`.
    #[must_use]
    pub fn at(&self, position: u64) -> Option<&Fact> {
        self.by_position.get(&position)
    }

    /// The records of step `index` with this body.
    pub fn of_step(&self, index: u32, body: Body) -> impl Iterator<Item = &Fact> {
        let positions = self.by_step.get(&index).into_iter().flatten();
        positions.filter_map(|p| self.by_position.get(p)).filter(move |f| f.body == body)
    }

    /// The records with this body that are found by `reference`.
    pub fn referred(&self, reference: &str, body: Body) -> impl Iterator<Item = &Fact> {
        let positions = self.by_reference.get(reference).into_iter().flatten();
        positions.filter_map(|p| self.by_position.get(p)).filter(move |f| f.body == body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trace_can_not_have_is_not_looked_up() {
        let wanted = || Wanted {
            steps: BTreeSet::from([0, 1, 2]),
            positions: BTreeSet::from([1, 4, 5]),
            ..Wanted::default()
        };
        let within = |largest, count| {
            let mut left = wanted();
            left.within(largest, count);
            (left.steps.into_iter().collect::<Vec<_>>(), left.positions.into_iter().collect::<Vec<_>>())
        };
        assert_eq!(within(None, 0), (vec![], vec![]));
        assert_eq!(within(Some(1), 4), (vec![0, 1], vec![1, 4]));
        assert_eq!(within(Some(7), 9), (vec![0, 1, 2], vec![1, 4, 5]));
    }
}
