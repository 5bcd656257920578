//! Ends an attempt on the agent's word.

use contracts_activity::v1::GetRunViewRequest;
use contracts_common::common::v1::{ErrorClass, GovernanceProfile, StepOutcome, TerminationReason};
use contracts_spine::v1::{CompleteRunRequest, CompleteRunResponse, CompletionIntent, NextAttempt};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;
use runspine_types::{Digest, Hasher};

use super::{Kernel, present, state::Attempt, termination::code, validate};
use crate::{
    reasons,
    sagas::completion::{Driven, Ending, OpenedBy, saga},
};

fn completion_digest(request: &CompleteRunRequest) -> Digest {
    let mut plain = request.clone();
    plain.fence = 0;
    Hasher::new("runspine.request.v1").sized(b"CompleteRun").sized(&plain.encode_to_vec()).finish()
}

impl Kernel {
    /// Ends an attempt.
    ///
    /// # Errors
    /// When the attempt already ends otherwise, the lease is another's, or nothing could be written down.
    pub async fn complete_run(
        &self,
        context: &Context,
        mut request: CompleteRunRequest,
    ) -> Outcome<CompleteRunResponse> {
        validate::complete(&request)?;
        let context = context.for_run(&request.run_id);
        let attempt = self.attempt(&context, &request.run_id, request.attempt).await?;
        Self::require_own(&context, &attempt)?;
        request.attempt = attempt.state.attempt;
        let digest = completion_digest(&request);
        if !attempt.is_ending() {
            self.require_completable(&request, &attempt)?;
        }
        let ending = self.ending(&context, &request, &attempt, digest).await?;
        let intent = self.end(&context, &request.run_id, request.attempt, ending).await?;
        if intent.request_digest != digest.as_bytes() {
            return Err(completion_exists(&intent, &request));
        }
        match self.drive(&context, &request.run_id, request.attempt).await? {
            Driven::Done(_) => {}
            Driven::Open(why) => {
                tracing::warn!(run_id = request.run_id, why, "a completion goes on without its caller")
            }
            Driven::Stuck(why) => {
                tracing::error!(run_id = request.run_id, why, "a completion waits for an operator")
            }
        }
        self.completed(&context, &request).await
    }

    fn require_completable(&self, request: &CompleteRunRequest, attempt: &Attempt) -> Outcome<()> {
        Self::require_fence(attempt, request.fence)?;
        let running = attempt.status() == contracts_common::common::v1::RunStatus::Running;
        if running && !attempt.holds_lease(self.now()) {
            return Err(Fault::new(&reasons::LEASE_LAPSED, "the lease lapsed; the reconciler ends the run"));
        }
        Ok(())
    }

    /// What the agent says, as an ending. A success over an unknown outcome is none in STRICT.
    async fn ending(
        &self,
        context: &Context,
        request: &CompleteRunRequest,
        attempt: &Attempt,
        digest: Digest,
    ) -> Outcome<Ending> {
        let mut ending = Ending {
            agent_code: request.error_code.clone(),
            error_class: ErrorClass::try_from(request.error_class).unwrap_or(ErrorClass::Unspecified),
            error_message: redacted(&request.error_message),
            stopped_at_step: request.stopped_at_step,
            retryable: request.retryable.unwrap_or(true),
            reward_permille: request.reward_permille,
            request_digest: digest.to_vec(),
            ..Ending::new(OpenedBy::Agent)
        };
        if request.outcome() == StepOutcome::Failure {
            ending.causes = vec![TerminationReason::AgentFailure];
            return Ok(ending);
        }
        ending.causes = vec![TerminationReason::Completed];
        if attempt.profile() != GovernanceProfile::Strict || attempt.is_ending() {
            return Ok(ending);
        }
        let unknown = self.unknown_outcomes(context, &request.run_id, request.attempt).await?;
        if unknown.is_empty() {
            return Ok(ending);
        }
        if !request.accept_ambiguous {
            return Err(ambiguous(&unknown));
        }
        ending.causes = vec![TerminationReason::AgentFailure];
        ending.error_code = code::AMBIGUOUS_OUTCOME.to_owned();
        Ok(ending)
    }

    /// Positions of records whose outcome nobody knows; steps in flight count, for nobody will report them.
    pub(super) async fn unknown_outcomes(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
    ) -> Outcome<Vec<u64>> {
        let slot = self.sessions.slot(&context.tenant_id, run_id, attempt);
        let mut slot = slot.lock().await;
        self.load(context, run_id, attempt, &mut slot).await?;
        let session = slot.session.get_or_insert_default();
        let ambiguous = session.ambiguous().map(|(_, position)| position);
        let open = session.in_flight().map(|_| session.head + 1);
        Ok(ambiguous.chain(open).collect())
    }

    async fn completed(
        &self,
        context: &Context,
        request: &CompleteRunRequest,
    ) -> Outcome<CompleteRunResponse> {
        let contract = self.contract(context, &request.run_id, request.attempt).await?;
        let saga = saga(&contract);
        let get = GetRunViewRequest { run_id: request.run_id.clone() };
        let view = self.bridges.views.run_view(context, get).await;
        let view = view.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        let next_attempt = view
            .attempts
            .last()
            .filter(|a| a.attempt > request.attempt)
            .map(|next| NextAttempt { attempt: next.attempt, not_before: next.next_attempt_at });
        let mut run = view.run.map(|run| present::run_of_view(run, saga.transaction_phase()));
        if let Some(run) = run.as_mut().filter(|run| run.attempt == request.attempt) {
            // The projection learns it from an event; the contract has it now.
            run.audit_status = contract.audit_status;
        }
        Ok(CompleteRunResponse { run, saga: Some(saga), next_attempt })
    }
}

fn completion_exists(intent: &CompletionIntent, request: &CompleteRunRequest) -> Fault {
    Fault::new(&reasons::COMPLETION_EXISTS, "the attempt already ends otherwise")
        .with("run_id", &request.run_id)
        .with("status", intent.status().as_str_name())
        .with("reason", intent.reason().as_str_name())
        .with("error_code", &intent.error_code)
}

/// The records, by position, that somebody has to settle first.
pub(super) fn ambiguous(positions: &[u64]) -> Fault {
    let positions: Vec<String> = positions.iter().map(ToString::to_string).collect();
    Fault::new(&reasons::AMBIGUOUS_UNRESOLVED, "the outcome of a step is not known")
        .with("positions", positions.join(","))
}

/// Error texts are an agent's words: control characters have no place in rows and logs.
fn redacted(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
