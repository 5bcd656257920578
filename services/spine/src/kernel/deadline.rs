//! The deadline of finalize_run: it follows the running time, and stands still while a run waits or is paused.

use contracts_logs::v1::MoveDeadlineRequest;
use contracts_spine::v1::{RunCharter, StartOutcome};
use runspine_errors::Outcome;
use runspine_rpc::{Context, micros, timestamp};

use super::{Kernel, charter::contract_key, state::Attempt};
use crate::reasons;

/// The clock of finalize_run after it was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The run goes on.
    Runs,
    /// It is written down how the run ends.
    Over,
}

impl Kernel {
    /// Sets the deadline of a run whose start came to `outcome`, and gives what it came to after all: a start that
    /// somebody has given up meanwhile is none, and nobody is told otherwise.
    pub(crate) async fn set_deadline(
        &self,
        context: &Context,
        charter: &RunCharter,
        outcome: StartOutcome,
        cause: &str,
    ) -> Outcome<StartOutcome> {
        let (run_id, attempt) = (charter.run_id.as_str(), charter.attempt);
        let clock = match outcome {
            StartOutcome::Admitted => {
                self.follow_running_time(context, run_id, attempt, "STARTED", cause).await?
            }
            StartOutcome::Waiting => {
                self.move_finalize(context, run_id, attempt, None, "WAITING", cause).await?
            }
            // A refused run ends now, under the deadline that it was declared with.
            StartOutcome::Denied | StartOutcome::Deferred | StartOutcome::Unspecified => return Ok(outcome),
        };
        Ok(if clock == Clock::Runs { outcome } else { StartOutcome::Denied })
    }

    /// The end of the running time, and the grace after it.
    pub(crate) async fn follow_running_time(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        reason: &str,
        cause: &str,
    ) -> Outcome<Clock> {
        let state = self.attempt(context, run_id, attempt).await?;
        let grace = i64::try_from(self.config.contract_deadline_ms).unwrap_or(0);
        let due = state.state.run_deadline.as_ref().map(|d| timestamp(micros(d).plus_millis(grace)));
        self.move_finalize(context, run_id, attempt, due, reason, cause).await
    }

    pub(crate) async fn suspend_deadline(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        cause: &str,
    ) -> Outcome<Clock> {
        self.move_finalize(context, run_id, attempt, None, "PAUSED", cause).await
    }

    pub(crate) async fn resume_deadline(
        &self,
        context: &Context,
        attempt: &Attempt,
        cause: &str,
    ) -> Outcome<Clock> {
        let (run_id, number) = (&attempt.state.run_id, attempt.state.attempt);
        self.follow_running_time(context, run_id, number, "RESUMED", cause).await
    }

    pub(crate) async fn move_finalize(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        due: Option<prost_types::Timestamp>,
        reason: &str,
        cause: &str,
    ) -> Outcome<Clock> {
        let fence = self.contract(context, run_id, attempt).await?.fence;
        let request = MoveDeadlineRequest {
            key: Some(contract_key(run_id, attempt)),
            domain: "orchestrator".to_owned(),
            action: "finalize_run".to_owned(),
            new_deadline: due,
            reason: reason.to_owned(),
            fence,
            request_id: cause.to_owned(),
        };
        let moved = self.bridges.contracts.move_deadline(context, request).await;
        match moved {
            Ok(moved) if moved.completion_intended_at.is_none() => Ok(Clock::Runs),
            // A run that has ended has no clock left to move.
            Ok(_) => Ok(Clock::Over),
            Err(miss) if miss.is("CONTRACT_CLOSED") => Ok(Clock::Over),
            Err(miss) => Err(miss.into_fault(&reasons::RECORD_UNAVAILABLE)),
        }
    }
}
