//! What a freeze does to a run whose agent says nothing: it is stopped or paused all the same, and goes on when a freeze
//! that paused it has ended.

use contracts_activity::v1::{
    AddPauseRequest, Authority, Pause, PauseReason, PauseTimeout, RequestStopRequest, StopMode,
};
use contracts_common::common::v1::{RunPhase, RunStatus, TerminationReason};
use contracts_controls::v1::FreezeRecord;
use contracts_logs::v1::ControlAction;
use contracts_spine::v1::ResumeRunRequest;
use runspine_errors::Outcome;
use runspine_rpc::{Context, micros};
use runspine_types::{Hasher, Micros, new_id_at};

use super::{Kernel, ledger, state::Attempt, termination::code};
use crate::reasons;

impl Kernel {
    /// Stops a run for good. What is in flight may still be recorded; with nothing in flight the run ends at once.
    ///
    /// # Errors
    /// When the run is not known, or the stop can't be stored.
    pub(crate) async fn stop_frozen(
        &self,
        context: &Context,
        freeze: &FreezeRecord,
        run_id: &str,
        attempt: u32,
        drains: bool,
    ) -> Outcome<()> {
        let found = self.attempt(context, run_id, attempt).await?;
        if found.is_ending() || found.state.stop.is_some() {
            return Ok(());
        }
        let frozen = TerminationReason::Frozen.into();
        let request = RequestStopRequest {
            run_id: run_id.to_owned(),
            attempt,
            reason: frozen,
            code: code::FROZEN.to_owned(),
            causes: vec![frozen],
            note: freeze.note.clone(),
            actor: Some(ledger::actor(context)),
            mode: StopMode::Drain.into(),
            drain_ms: if drains { self.config.drain_ms } else { 0 },
            ..RequestStopRequest::default()
        };
        let stored = self.bridges.stops.stop(context, request).await;
        match stored {
            Err(miss) if miss.is("RUN_TERMINAL") => return Ok(()),
            stored => stored.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?,
        };
        if found.phase() != RunPhase::Executing {
            return Ok(());
        }
        let key = format!("f/{}", freeze.freeze_id);
        self.tell_control(context, run_id, attempt, &key, ControlAction::FreezeSeen, &freeze.freeze_id).await
    }

    /// Pauses a run that runs.
    ///
    /// # Errors
    /// When the run is not known, or the pause can't be stored.
    pub(crate) async fn pause_frozen(
        &self,
        context: &Context,
        freeze: &FreezeRecord,
        run_id: &str,
        attempt: u32,
    ) -> Outcome<()> {
        let slot = self.sessions.slot(&context.tenant_id, run_id, attempt);
        let mut slot = slot.lock().await;
        let found = self.attempt(context, run_id, attempt).await?;
        let running = found.phase() == RunPhase::Executing && found.status() == RunStatus::Running;
        if !running || found.state.stop.is_some() {
            return Ok(());
        }
        let request = AddPauseRequest {
            request_id: request_id("pause", freeze, run_id, attempt),
            run_id: run_id.to_owned(),
            attempt,
            reason: PauseReason::Freeze.into(),
            source_id: freeze.freeze_id.clone(),
            sla_ms: i64::from(self.config.pause_sla_s) * 1_000,
            on_timeout: PauseTimeout::Terminate.into(),
            note: freeze.note.clone(),
            actor: Some(ledger::actor(context)),
            authority: Authority::SystemAuto.into(),
            expected_sequence: 0,
        };
        self.pause_for(context, request, &mut slot).await
    }

    /// Takes the pause of a freeze that has ended away; a run that has no other goes on.
    ///
    /// # Errors
    /// When the run is not known, or the pause can't be taken away.
    pub(crate) async fn resume_frozen(
        &self,
        context: &Context,
        freeze: &FreezeRecord,
        run_id: &str,
        attempt: u32,
    ) -> Outcome<()> {
        let found = self.attempt(context, run_id, attempt).await?;
        let pause_ids = of_freeze(&found, &freeze.freeze_id);
        if found.status() != RunStatus::Paused || pause_ids.is_empty() {
            return Ok(());
        }
        let request = ResumeRunRequest {
            request_id: request_id("resume", freeze, run_id, attempt),
            run_id: run_id.to_owned(),
            note: "the freeze has ended".to_owned(),
            ..ResumeRunRequest::default()
        };
        let cleared =
            self.clear_pauses(context, &found, (pause_ids, Authority::SystemAuto), &request, None).await;
        cleared.map(|_| ())
    }
}

fn of_freeze(attempt: &Attempt, freeze_id: &str) -> Vec<String> {
    let mine = |p: &&Pause| p.reason() == PauseReason::Freeze && p.source_id == freeze_id;
    attempt.state.pauses.iter().filter(mine).map(|p| p.pause_id.clone()).collect()
}

/// The same order to the same run has the same id, whichever replica gives it.
fn request_id(order: &str, freeze: &FreezeRecord, run_id: &str, attempt: u32) -> String {
    let digest = Hasher::new("runspine.frozen.v1")
        .sized(order.as_bytes())
        .sized(freeze.freeze_id.as_bytes())
        .sized(run_id.as_bytes())
        .fixed(&attempt.to_be_bytes())
        .finish();
    let random = std::array::from_fn(|place| digest.as_bytes()[place]);
    new_id_at(freeze.committed_at.as_ref().map_or(Micros(0), micros), random)
}
