//! What a decision tells the run is done before its answer leaves.

use contracts_activity::v1::{
    AddPauseRequest, Authority, PauseReason, PauseTimeout, RequestStopRequest, StopMode,
};
use contracts_common::common::v1::{Directive, RunStatus, TerminationReason, Verdict};
use contracts_spine::v1::{AuthorizeStepRequest, AuthorizeStepResponse, Decision};
use runspine_errors::Outcome;
use runspine_rpc::Context;

use super::{Kernel, ledger, sessions::Slot, state::Attempt, termination};

impl Kernel {
    /// Writes what the run is told: a pause or a stop is stored before the answer says so.
    pub(super) async fn enforce(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        attempt: &Attempt,
        slot: &mut Slot,
        answer: &AuthorizeStepResponse,
    ) -> Outcome<()> {
        let Some(decision) = &answer.decision else { return Ok(()) };
        let primary = decision.reasons.first().cloned().unwrap_or_default();
        match decision.directive() {
            Directive::Terminate if attempt.state.stop.is_none() => {
                let reason = termination::reason_of_refusal(&primary.check, &primary.code);
                self.stop(context, ask, reason, &primary.source_id).await
            }
            Directive::Pause => Box::pin(self.enforce_pause(context, ask, slot, decision)).await,
            _ => Ok(()),
        }
    }

    /// Pauses a run that runs. Its state is read anew: while this call waited for the session, a freeze may have paused it.
    async fn enforce_pause(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        slot: &mut Slot,
        decision: &Decision,
    ) -> Outcome<()> {
        let attempt = self.attempt(context, &ask.run_id, ask.attempt).await?;
        if attempt.status() != RunStatus::Running {
            return Ok(());
        }
        let primary = decision.reasons.first().cloned().unwrap_or_default();
        let waits = decision.effective_verdict() == Verdict::RequireApproval;
        let (reason, source_id) = match primary.check.as_str() {
            "FREEZE" => (PauseReason::Freeze, primary.source_id),
            "LIMITS" => (PauseReason::BudgetWarning, primary.source_id),
            _ if waits => (PauseReason::ApprovalRequired, decision.approval_id.clone()),
            _ => (PauseReason::PolicyChange, primary.source_id),
        };
        let request = AddPauseRequest {
            request_id: decision.decision_id.clone(),
            run_id: ask.run_id.clone(),
            attempt: ask.attempt,
            reason: reason.into(),
            source_id,
            sla_ms: i64::from(self.config.pause_sla_s) * 1_000,
            on_timeout: PauseTimeout::Terminate.into(),
            note: primary.message,
            actor: Some(ledger::actor(context)),
            authority: Authority::SystemAuto.into(),
            expected_sequence: attempt.state.sequence,
        };
        self.pause_for(context, request, slot).await?;
        if reason == PauseReason::ApprovalRequired {
            // Whoever decided it before the run was paused woke nobody.
            self.resume_if_resolved(context, &decision.approval_id, slot).await?;
        }
        Ok(())
    }

    async fn stop(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        reason: TerminationReason,
        source: &str,
    ) -> Outcome<()> {
        let policy = reason == TerminationReason::PolicyBlock;
        let request = RequestStopRequest {
            run_id: ask.run_id.clone(),
            attempt: ask.attempt,
            reason: reason.into(),
            code: termination::kernel_code(reason).to_owned(),
            causes: vec![reason.into()],
            actor: Some(ledger::actor(context)),
            mode: StopMode::Drain.into(),
            drain_ms: self.config.drain_ms,
            violation_policy_id: if policy { source.to_owned() } else { String::new() },
            stopped_at_step: ask.step_index,
            ..RequestStopRequest::default()
        };
        let stored = self.bridges.stops.stop(context, request).await;
        stored.map(|_| ()).map_err(|miss| miss.into_fault(&crate::reasons::RECORD_UNAVAILABLE))
    }
}
