//! What a sealed trace says about each of its steps, and what a replay is to do with them.

use std::collections::BTreeMap;

use bytes::Bytes;
use contracts_common::common::v1::{DecisionSource, StepKind, StepOutcome, Verdict};
use contracts_logs::v1::{
    Decision, RecordedDecision, ReplayBehaviour, ReplayDecision, ReplayPlanStep, ReplayRule, Step,
    TraceRecord, trace_record::Body,
};
use runspine_types::{Digest, Hasher};

/// A step as it was recorded: its final try, and what policies decided about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    /// The final try; its outcome is that of its resolution where one settled it.
    pub step: Step,
    /// What policies decided about it, in order.
    pub decisions: Vec<ReplayDecision>,
    /// Where these decisions are kept with their inputs, in the same order.
    pub made: Vec<RecordedDecision>,
    /// Where the final try stands, once there is one.
    position: Option<u64>,
}

/// The steps of a trace, collected while it is read once in position order.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    steps: BTreeMap<u32, Recorded>,
}

impl Recording {
    /// Takes the next record.
    pub fn take(&mut self, record: TraceRecord) {
        match (record.body, record.step_index) {
            (Some(Body::Decision(decision)), Some(index)) => self.decided(index, decision),
            (Some(Body::Step(step)), Some(index)) if step.outcome() != StepOutcome::Retried => {
                let recorded = self.steps.entry(index).or_default();
                recorded.step = step;
                recorded.position = Some(record.position);
            }
            (Some(Body::Resolution(resolution)), _) => {
                let of = Some(resolution.resolves_position);
                if let Some(recorded) = self.steps.values_mut().find(|recorded| recorded.position == of) {
                    recorded.step.outcome = resolution.outcome;
                    recorded.step.outcome_code = resolution.outcome_code;
                }
            }
            _ => {}
        }
    }

    fn decided(&mut self, index: u32, decision: Decision) {
        if is_of_policies(&decision) {
            let step = self.steps.entry(index).or_default();
            step.decisions.push(ReplayDecision {
                verdict: decision.verdict,
                directive: decision.directive,
                rule_ids: decision.rule_ids,
            });
            step.made.push(RecordedDecision {
                decision_id: decision.decision_id,
                policy_snapshot_digest: decision.policy_snapshot_digest,
            });
        }
    }

    /// What policies decided about the step at `index`, whether or not it was done.
    #[must_use]
    pub fn decisions(&self, index: u32) -> &[ReplayDecision] {
        self.steps.get(&index).map_or(&[], |recorded| recorded.decisions.as_slice())
    }

    /// The step at `index`; none that was decided about and never reported.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<&Recorded> {
        self.steps.get(&index).filter(|recorded| recorded.position.is_some())
    }

    /// The steps by index.
    pub fn steps(&self) -> impl Iterator<Item = (u32, &Recorded)> {
        let done = self.steps.iter().filter(|(_, recorded)| recorded.position.is_some());
        done.map(|(index, recorded)| (*index, recorded))
    }
}

/// Whether a decision says what the rules said: they had the last word, or everybody who was asked allowed it, and they
/// were asked.
fn is_of_policies(decision: &Decision) -> bool {
    let allowed = decision.verdict() == Verdict::Allow && !decision.facts_digest.is_empty();
    decision.source() == DecisionSource::Policy || allowed
}

/// What the steps of a replay are to do.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    by_index: BTreeMap<u32, ReplayBehaviour>,
    by_kind: BTreeMap<i32, ReplayBehaviour>,
}

impl Plan {
    /// By the rules of an order.
    #[must_use]
    pub fn of(rules: &[ReplayRule]) -> Self {
        let mut plan = Self::default();
        for rule in rules {
            match rule.step_index {
                Some(index) => plan.by_index.insert(index, rule.behaviour()),
                None => plan.by_kind.insert(rule.kind, rule.behaviour()),
            };
        }
        plan
    }

    /// What a step is to do.
    #[must_use]
    pub fn behaviour(&self, index: u32, kind: i32) -> ReplayBehaviour {
        let named = self.by_index.get(&index).or_else(|| self.by_kind.get(&kind));
        let every = || self.by_kind.get(&i32::from(StepKind::Unspecified));
        match named.or_else(every) {
            None | Some(ReplayBehaviour::Unspecified) => ReplayBehaviour::Check,
            Some(behaviour) => *behaviour,
        }
    }

    /// The plan step by step.
    #[must_use]
    pub fn steps(&self, recording: &Recording) -> Vec<ReplayPlanStep> {
        let planned = |(index, recorded): (u32, &Recorded)| ReplayPlanStep {
            step_index: index,
            kind: recorded.step.kind,
            name: recorded.step.name.clone(),
            behaviour: self.behaviour(index, recorded.step.kind).into(),
            input_digest: recorded.step.input_digest.clone(),
            output_digest: recorded.step.output_digest.clone(),
            output_ref: recorded.step.output_ref.clone(),
            decisions: recorded.made.clone(),
        };
        recording.steps().map(planned).collect()
    }
}

/// The key of a step that was given none.
#[must_use]
pub fn default_key((run_id, attempt): (&str, u32), step_index: u32, input_digest: &Bytes) -> Digest {
    Hasher::new("runspine.replay_key.v1")
        .sized(run_id.as_bytes())
        .fixed(&attempt.to_be_bytes())
        .fixed(&step_index.to_be_bytes())
        .sized(input_digest)
        .finish()
}
