//! What happened to governed runs.

use std::collections::BTreeMap;

use contracts_spine::v1::{Decision, ProofStatus, Run};

/// One step that was not allowed.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Its index.
    pub step_index: u32,
    /// Its name.
    pub name: String,
    /// The primary reason.
    pub reason: String,
}

/// What happened to one run.
#[derive(Debug, Clone, Default)]
pub struct RunReport {
    /// Name of the recording.
    pub recording: String,
    /// Id of the run. Empty: it was never created.
    pub run_id: String,
    /// Why it was not admitted.
    pub start_refused: Option<String>,
    /// Its agent stopped reporting.
    pub crashed: bool,
    /// Steps recorded.
    pub steps: u64,
    /// Decisions by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Decisions made while a decider could not decide.
    pub degraded: u64,
    /// Decisions that STANDARD would have enforced.
    pub would_block: u64,
    /// Steps that were not allowed.
    pub denials: Vec<Denial>,
    /// Warnings given.
    pub warnings: usize,
    /// Tokens read.
    pub tokens_input: i64,
    /// Tokens written.
    pub tokens_output: i64,
    /// Cost.
    pub cost_microusd: i64,
    /// What no rule could fund.
    pub unfunded_microusd: i64,
    /// The run at its end.
    pub ended: Option<Run>,
    /// Its proof.
    pub proof: Option<ProofStatus>,
    /// Incidents that it is part of.
    pub incidents: Vec<String>,
}

impl RunReport {
    /// Counts a decision.
    pub fn count(&mut self, decision: &Decision) {
        let name = decision.verdict().as_str_name().trim_start_matches("VERDICT_").to_owned();
        *self.verdicts.entry(name).or_default() += 1;
        if decision.degraded {
            self.degraded += 1;
        }
        if decision.would_block.is_some() {
            self.would_block += 1;
        }
    }
}
