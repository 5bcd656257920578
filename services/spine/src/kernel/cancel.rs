//! Ends a run for good on a person's order.

use contracts_activity::v1::{RequestStopRequest, StopMode};
use contracts_common::common::v1::{RunPhase, TerminationReason};
use contracts_logs::v1::ControlAction;
use contracts_spine::v1::{CancelMode, CancelRunRequest, CancelRunResponse};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;

use super::{Kernel, LedgerNote, ledger, sessions::Slot, termination::code, validate};
use crate::reasons;

use super::kept::Kept;

impl Kernel {
    /// Ends a run for good.
    ///
    /// # Errors
    /// When the run has ended, or the stop can't be stored.
    pub async fn cancel_run(
        &self,
        context: &Context,
        request: CancelRunRequest,
    ) -> Outcome<CancelRunResponse> {
        validate::cancel(&request)?;
        let context = context.for_run(&request.run_id);
        let key = Kept::of("spine.CancelRun", &request.run_id, &request.request_id, request.encode_to_vec());
        if let Some(first) = self.kept(&context, &key).await? {
            return Ok(first);
        }
        let attempt = self.attempt(&context, &request.run_id, 0).await?;
        if attempt.is_ending() {
            return Err(Fault::new(&reasons::RUN_ENDED, "the run has ended or is ending"));
        }
        let now = request.mode() == CancelMode::Now;
        let number = attempt.state.attempt;
        let slot = self.sessions.slot(&context.tenant_id, &request.run_id, number);
        let mut slot = slot.lock().await;
        let drain = if now || !self.has_steps_in_flight(&context, &request.run_id, number, &mut slot).await {
            0
        } else {
            request.drain_ms.map_or(self.config.drain_ms, i64::from)
        };
        let stop = RequestStopRequest {
            run_id: request.run_id.clone(),
            attempt: attempt.state.attempt,
            reason: TerminationReason::UserAbort.into(),
            code: code::CANCELLED.to_owned(),
            causes: vec![TerminationReason::UserAbort.into()],
            note: request.note.clone(),
            actor: Some(ledger::actor(&context)),
            mode: if now { StopMode::Now } else { StopMode::Drain }.into(),
            drain_ms: drain,
            ..RequestStopRequest::default()
        };
        let stored = self.bridges.stops.stop(&context, stop).await;
        stored.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
        if attempt.phase() == RunPhase::Executing {
            let record = format!("c/{}", request.request_id);
            let action = ControlAction::CancelRequested;
            let of = (request.run_id.as_str(), number);
            self.tell_control_in(&context, of, &mut slot, &record, action, &request.request_id).await?;
        }
        drop(slot);
        let said = LedgerNote {
            event: "spine.RunCancelRequested",
            run_id: &request.run_id,
            attempt: attempt.state.attempt,
            key: &request.request_id,
            reason: &request.note,
            ..LedgerNote::default()
        };
        self.tell_ledger(&context, &said).await?;
        let run = self.run_now(&context, &request.run_id).await?;
        self.keep(&context, &key, CancelRunResponse { run: Some(run) }).await
    }

    /// Whether a drain has anything to wait for. A trace that can't be read is waited for.
    async fn has_steps_in_flight(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        slot: &mut Slot,
    ) -> bool {
        match self.load(context, run_id, attempt, slot).await {
            Ok(()) => slot.session.as_ref().is_some_and(|session| session.in_flight().next().is_some()),
            Err(fault) => {
                tracing::warn!(run_id, %fault, "a stop drains because the trace can't be read");
                true
            }
        }
    }
}
