//! What an agent was told: the only thing that a test may hold the mesh to.

use contracts_common::common::v1::StepOutcome;
use contracts_spine::v1::{CompleteRunResponse, Receipt, StartOutcome, StartRunResponse};

/// What a kept receipt is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The decision with this id.
    Decision(String),
    /// The report of a step under the decision with this id.
    Step(String),
}

/// A receipt that an agent was given and keeps.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What for.
    pub kind: Kind,
    /// Its step.
    pub step_index: u32,
    /// Position and link on the trace.
    pub receipt: Receipt,
}

/// The diary of one run.
#[derive(Debug, Clone, Default)]
pub struct Diary {
    /// The run.
    pub run_id: String,
    /// The answer to its start. `None`: the start was never answered.
    pub started: Option<StartRunResponse>,
    /// Every answered decision and step.
    pub kept: Vec<Kept>,
    /// Calls that were repeated after the mesh was gone.
    pub repeated: u64,
    /// The agent was told to stop, or may have been by an answer that got lost.
    pub stopped: bool,
    /// What the agent wanted its end to be, once it asked.
    pub wanted: Option<StepOutcome>,
    /// The answer to that.
    pub ended: Option<CompleteRunResponse>,
    /// Why the agent left before its work was done.
    pub left: String,
}

impl Diary {
    /// Whether it may be that there is no run: nobody was told of one.
    #[must_use]
    pub fn may_be_nothing(&self) -> bool {
        self.started.as_ref().is_none_or(|s| s.outcome() == StartOutcome::Deferred)
    }
}
