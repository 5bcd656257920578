//! Where an attempt stands, as activity tells it.

use contracts_activity::v1::{GetRunStateRequest, RunAttributes, RunState};
use contracts_common::common::v1::{GovernanceProfile, RunPhase, RunStatus};
use runspine_errors::{Fault, Outcome};
use runspine_rpc::{Context, micros};
use runspine_types::Micros;

use super::Kernel;
use crate::reasons;

/// The state of an attempt, with the few questions that the kernel has.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// As activity gave it.
    pub state: RunState,
    /// The attributes that the run was created with.
    pub attributes: RunAttributes,
}

impl Attempt {
    /// From what activity answered.
    #[must_use]
    pub fn new(mut state: RunState) -> Self {
        let attributes = state.attributes.take().unwrap_or_default();
        Self { state, attributes }
    }

    /// Its phase.
    #[must_use]
    pub fn phase(&self) -> RunPhase {
        self.state.phase()
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> RunStatus {
        self.state.status()
    }

    /// The profile that it keeps to its end. One that is not known is the strictest.
    #[must_use]
    pub fn profile(&self) -> GovernanceProfile {
        match self.attributes.profile() {
            GovernanceProfile::Unspecified => GovernanceProfile::Strict,
            known => known,
        }
    }

    /// Whether nothing can be asked of it any more.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        matches!(
            self.phase(),
            RunPhase::GovernanceCheck | RunPhase::Finalizing | RunPhase::Completed | RunPhase::Failed
        )
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.phase(), RunPhase::Completed | RunPhase::Failed)
    }

    /// Whether its lease is live at `now`.
    #[must_use]
    pub fn holds_lease(&self, now: Micros) -> bool {
        let expiry = self.state.lease.as_ref().and_then(|l| l.expires_at.as_ref());
        expiry.is_some_and(|at| micros(at) > now)
    }

    /// Whether its running time is over at `now`.
    #[must_use]
    pub fn is_timed_out(&self, now: Micros) -> bool {
        self.status() == RunStatus::Running
            && self.state.run_deadline.as_ref().is_some_and(|at| micros(at) <= now)
    }

    /// Running time so far in milliseconds, without pauses.
    #[must_use]
    pub fn running_ms(&self, now: Micros) -> i64 {
        let Some(since) = self.state.executing_since.as_ref().map(micros) else { return 0 };
        let until = self.state.paused_since.as_ref().map_or(now, micros);
        until.millis_since(since).saturating_sub(self.state.paused_ms).max(0)
    }
}

impl Kernel {
    /// Where an attempt stands; attempt 0 is the latest.
    pub(crate) async fn attempt(&self, context: &Context, run_id: &str, attempt: u32) -> Outcome<Attempt> {
        if let Some(found) = self.read_attempt(context, run_id, attempt, false).await? {
            return Ok(found);
        }
        let known = attempt != 0 && self.read_attempt(context, run_id, 0, false).await?.is_some();
        let (reason, text) = if known {
            (&reasons::ATTEMPT_NOT_FOUND, "the run has no such attempt")
        } else {
            (&reasons::RUN_NOT_FOUND, "no such run for this tenant")
        };
        Err(Fault::new(reason, text).with("run_id", run_id))
    }

    /// The same; `None` when it does not exist.
    pub(crate) async fn read_attempt(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        with_start_input: bool,
    ) -> Outcome<Option<Attempt>> {
        let request = GetRunStateRequest { run_id: run_id.to_owned(), attempt, with_start_input };
        match self.bridges.runs.run_state(context, request).await {
            Ok(answer) => Ok(answer.state.map(Attempt::new)),
            Err(miss) if miss.is_not_found() => Ok(None),
            Err(miss) => Err(miss.into_fault(&reasons::DECISION_UNAVAILABLE)),
        }
    }

    /// Only the credential that started a run, or one of the same agent and owner, may work on it.
    pub(crate) fn require_own(context: &Context, attempt: &Attempt) -> Outcome<()> {
        let run = &attempt.attributes;
        let same_credential = run.credential_id == context.credential_id;
        let same_agent = !context.agent_id.is_empty()
            && run.credential_agent_id == context.agent_id
            && run.owner_id == context.owner_id;
        if same_credential || same_agent {
            return Ok(());
        }
        Err(Fault::new(&reasons::RUN_NOT_YOURS, "another credential started this run")
            .with("run_id", &attempt.state.run_id))
    }

    /// Refuses a holder who is not the newest.
    pub(crate) fn require_fence(attempt: &Attempt, fence: u64) -> Outcome<()> {
        if fence == attempt.state.fence {
            return Ok(());
        }
        Err(Fault::new(&reasons::STALE_FENCE, "the run has another lease")
            .with("fence", attempt.state.fence)
            .with("run_id", &attempt.state.run_id))
    }
}
