//! The moves of the phase machine that the kernel makes.

use contracts_activity::v1::{
    Authorization, AuthorizationDecision, TransitionRunRequest, TransitionRunResponse,
};
use contracts_common::{
    common::v1::{RunEvent, RunPhase, RunStatus},
    phase,
};
use contracts_spine::v1::RunCharter;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::{Context, timestamp};

use super::{Kernel, start::StartDecision};
use crate::{bridges::Miss, reasons};

impl Kernel {
    /// The move that `event` makes of a run that did not begin yet.
    pub(crate) fn transition(
        &self,
        charter: &RunCharter,
        sequence: u64,
        event: RunEvent,
        cause_id: &str,
    ) -> TransitionRunRequest {
        let from = match event {
            RunEvent::Approved => (RunPhase::Created, RunStatus::PendingApproval),
            _ => (RunPhase::Created, RunStatus::Queued),
        };
        let (to_phase, to_status) = phase::next(Some(from), event)
            .first()
            .copied()
            .unwrap_or((RunPhase::Unspecified, RunStatus::Unspecified));
        TransitionRunRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            expected_sequence: sequence,
            event: event.into(),
            to_phase: to_phase.into(),
            to_status: to_status.into(),
            reason: event.as_str_name().trim_start_matches("RUN_EVENT_").to_owned(),
            actor: Some(contracts_common::common::v1::Actor {
                r#type: contracts_common::common::v1::ActorType::System.into(),
                id: "spine".to_owned(),
            }),
            cause_id: cause_id.to_owned(),
            ..TransitionRunRequest::default()
        }
    }

    /// Makes a move.
    pub(crate) async fn moved(
        &self,
        context: &Context,
        request: TransitionRunRequest,
    ) -> Outcome<TransitionRunResponse> {
        self.bridges.runs.transition(context, request).await.map_err(not_moved)
    }

    /// What a decision means for the run's authorization.
    pub(crate) fn authorization(
        &self,
        decided: &StartDecision,
        decision: AuthorizationDecision,
    ) -> Authorization {
        Authorization {
            decision: decision.into(),
            engine: "cedar".to_owned(),
            context_digest: decided
                .evaluated
                .decision
                .as_ref()
                .map(|d| d.inputs_digest.clone())
                .unwrap_or_default(),
            authorized_at: Some(timestamp(self.now())),
            authorized_by: "policies".to_owned(),
        }
    }
}

/// What a refused move means to the caller.
pub(crate) fn not_moved(miss: Miss) -> Fault {
    match miss.reason().as_str() {
        "SEQUENCE_MOVED" => {
            Fault::new(&reasons::SEQUENCE_MOVED, "somebody else moved the run; read it again")
        }
        "STALE_FENCE" => Fault::new(&reasons::STALE_FENCE, "the run has another lease"),
        "RUN_TERMINAL" => Fault::new(&reasons::RUN_ENDED, "the attempt has ended"),
        "ILLEGAL_TRANSITION" | "PHASE_STATUS_MISMATCH" => {
            Fault::new(&reasons::PHASE_TRANSITION_INVALID, "the phase machine has no such move")
        }
        _ => miss.into_fault(&reasons::RECORD_UNAVAILABLE),
    }
}
