//! A recorded decision beside what a candidate makes of it: one shape for back-tests and shadows.

use runspine_db::{Args, args, row};
use runspine_policies_domain::{sandbox::tally::Diff, words::Verdict};

row! {
    /// What was recorded, and what a candidate decides. `id` comes from the store: a new one has none.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct DiffRow {
        pub id: i64,
        pub decision_id: String,
        pub run_id: String,
        pub attempt: u32,
        /// -1: the start of the run.
        pub step_index: i64,
        pub recorded: i32,
        /// 0: it was not decided again.
        pub candidate: i32,
        pub recorded_code: String,
        pub recorded_rule: String,
        pub candidate_code: String,
        pub candidate_rule: String,
        pub counterfactual: bool,
        pub agent_id: String,
        pub resource: String,
    }
}

/// The columns of a new one.
const NEW: [&str; 13] = [
    "decision_id",
    "run_id",
    "attempt",
    "step_index",
    "recorded",
    "candidate",
    "recorded_code",
    "recorded_rule",
    "candidate_code",
    "candidate_rule",
    "counterfactual",
    "agent_id",
    "resource",
];

/// The columns of a table that holds them, behind its own.
pub(super) fn columns(own: &[&'static str]) -> Vec<&'static str> {
    own.iter().copied().chain(NEW).collect()
}

impl DiffRow {
    /// The values of those columns.
    pub(super) fn values(self, mut own: Args) -> Args {
        own.extend(args![
            self.decision_id,
            self.run_id,
            self.attempt,
            self.step_index,
            self.recorded,
            self.candidate,
            self.recorded_code,
            self.recorded_rule,
            self.candidate_code,
            self.candidate_rule,
            self.counterfactual,
            self.agent_id,
            self.resource,
        ]);
        own
    }

    /// What a candidate decides otherwise; none: it was not decided again.
    pub(crate) fn diff(self) -> Option<Diff> {
        Some(Diff {
            recorded: Verdict::from_code(self.recorded)?,
            candidate: Verdict::from_code(self.candidate)?,
            decision_id: self.decision_id,
            run_id: self.run_id,
            attempt: self.attempt,
            step_index: u32::try_from(self.step_index).ok(),
            recorded_code: self.recorded_code,
            recorded_rule: self.recorded_rule,
            candidate_code: self.candidate_code,
            candidate_rule: self.candidate_rule,
            counterfactual: self.counterfactual,
            agent: self.agent_id,
            resource: self.resource,
        })
    }
}

impl From<&Diff> for DiffRow {
    fn from(d: &Diff) -> Self {
        Self {
            id: 0,
            decision_id: d.decision_id.clone(),
            run_id: d.run_id.clone(),
            attempt: d.attempt,
            step_index: d.step_index.map_or(-1, i64::from),
            recorded: d.recorded.code(),
            candidate: d.candidate.code(),
            recorded_code: d.recorded_code.clone(),
            recorded_rule: d.recorded_rule.clone(),
            candidate_code: d.candidate_code.clone(),
            candidate_rule: d.candidate_rule.clone(),
            counterfactual: d.counterfactual,
            agent_id: d.agent.clone(),
            resource: d.resource.clone(),
        }
    }
}
