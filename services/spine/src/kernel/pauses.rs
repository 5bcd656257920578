//! Stops a run for a while: by a person's order, or because an answer to a step says so.

use contracts_activity::v1::{AddPauseRequest, Authority, Pause, PauseReason, PauseTimeout};
use contracts_common::common::v1::RunPhase;
use contracts_controls::v1::RenewRunLeaseRequest;
use contracts_logs::v1::ControlAction;
use contracts_spine::v1::{PauseRunRequest, PauseRunResponse};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;

use super::kept::Kept;
use super::{
    Kernel, LedgerNote, ledger, present, resume::authority, sessions::Slot, state::Attempt, validate,
};
use crate::reasons;

impl Kernel {
    /// Stops a run for a while.
    ///
    /// # Errors
    /// When the run does not execute, or the pause can't be stored.
    pub async fn pause_run(&self, context: &Context, request: PauseRunRequest) -> Outcome<PauseRunResponse> {
        validate::pause(&request)?;
        let context = context.for_run(&request.run_id);
        let key = Kept::of("spine.PauseRun", &request.run_id, &request.request_id, request.encode_to_vec());
        if let Some(first) = self.kept(&context, &key).await? {
            return Ok(first);
        }
        let attempt = self.attempt(&context, &request.run_id, 0).await?;
        self.require_executing(&attempt)?;
        let sla_s = if request.sla_s == 0 { self.config.pause_sla_s } else { request.sla_s };
        let add = AddPauseRequest {
            request_id: request.request_id.clone(),
            run_id: request.run_id.clone(),
            attempt: attempt.state.attempt,
            reason: PauseReason::ManualPause.into(),
            source_id: request.request_id.clone(),
            sla_ms: i64::from(sla_s) * 1_000,
            on_timeout: match request.on_timeout() {
                contracts_spine::v1::PauseTimeout::Continue => PauseTimeout::Continue,
                contracts_spine::v1::PauseTimeout::Escalate => PauseTimeout::Escalate,
                _ => PauseTimeout::Terminate,
            }
            .into(),
            note: request.note.clone(),
            actor: Some(ledger::actor(&context)),
            authority: authority(&context, &attempt).unwrap_or(Authority::Unspecified).into(),
            expected_sequence: attempt.state.sequence,
        };
        let slot = self.sessions.slot(&context.tenant_id, &request.run_id, attempt.state.attempt);
        let mut slot = slot.lock().await;
        let pause = self.add_pause(&context, add, &mut slot).await?;
        drop(slot);
        let run = self.run_now(&context, &request.run_id).await?;
        let answer = PauseRunResponse { run: Some(run), pause: Some(present::pause(&pause)) };
        self.keep(&context, &key, answer).await
    }

    /// A pause that the mesh itself sets while it answers a step call, which has the run's session.
    pub(crate) async fn pause_for(
        &self,
        context: &Context,
        request: AddPauseRequest,
        slot: &mut Slot,
    ) -> Outcome<()> {
        self.add_pause(context, request, slot).await.map(|_| ())
    }

    /// Stores a pause, suspends both clocks, and says so on the trace and the ledger.
    async fn add_pause(
        &self,
        context: &Context,
        request: AddPauseRequest,
        slot: &mut Slot,
    ) -> Outcome<Pause> {
        let (run_id, attempt, note) = (request.run_id.clone(), request.attempt, request.note.clone());
        let added = self.bridges.stops.pause(context, request).await.map_err(super::moves::not_moved)?;
        let pause = added.pause.unwrap_or_default();
        self.suspend_deadline(context, &run_id, attempt, &pause.pause_id).await?;
        let state = self.attempt(context, &run_id, attempt).await?;
        self.holds_outlive(context, &state).await;
        let action = ControlAction::Paused;
        let record = format!("p/{}", pause.pause_id);
        self.tell_control_in(context, (&run_id, attempt), slot, &record, action, &pause.pause_id).await?;
        let said = LedgerNote {
            event: "spine.RunPaused",
            run_id: &run_id,
            attempt,
            key: &pause.pause_id,
            reason: &note,
            ..LedgerNote::default()
        };
        self.tell_ledger(context, &said).await?;
        Ok(pause)
    }

    fn require_executing(&self, attempt: &Attempt) -> Outcome<()> {
        if attempt.is_ending() {
            return Err(Fault::new(&reasons::RUN_ENDED, "the run has ended or is ending"));
        }
        if attempt.phase() == RunPhase::Executing {
            return Ok(());
        }
        Err(Fault::new(&reasons::PHASE_TRANSITION_INVALID, "only a run that executes can be paused")
            .with("phase", attempt.phase().as_str_name()))
    }

    /// A paused run's holds live on without a lapse.
    async fn holds_outlive(&self, context: &Context, attempt: &Attempt) {
        let request = RenewRunLeaseRequest {
            run_id: attempt.state.run_id.clone(),
            attempt: attempt.state.attempt,
            fence: attempt.state.fence,
            expires_at: None,
            freeze_epoch_seen: self.freezes.epoch(),
        };
        if let Err(miss) = self.bridges.controls.renew(context, request).await {
            tracing::warn!(run_id = attempt.state.run_id, ?miss, "the holds of a paused run may lapse");
        }
    }
}
