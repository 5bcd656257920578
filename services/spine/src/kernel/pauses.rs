//! Pauses and resumes: a person's orders, by the authority of the credential.

use contracts_activity::v1::{
    AddPauseRequest, Authority, ClearPausesRequest, Pause, PauseReason, PauseTimeout,
};
use contracts_common::common::v1::{ActorType, RunPhase, RunStatus};
use contracts_controls::v1::RenewRunLeaseRequest;
use contracts_logs::v1::ControlAction;
use contracts_spine::v1::{PauseRunRequest, PauseRunResponse, ResumeRunRequest, ResumeRunResponse};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::{Context, micros};

use super::kept::Kept;
use super::{Kernel, LedgerNote, ledger, present, sessions::Slot, state::Attempt, validate};
use crate::reasons;

/// What the credential lets its bearer do with paused runs, most far-reaching first.
#[must_use]
pub fn authority(context: &Context, attempt: &Attempt) -> Option<Authority> {
    let has = |role: &str| context.roles.iter().any(|r| r == role);
    let actor = context.actor.as_ref()?;
    let human = actor.r#type() == ActorType::Human;
    if human && has("PLATFORM_OPERATOR") {
        Some(Authority::MeshOperator)
    } else if human && (has("OWNER") || has("ADMIN")) {
        Some(Authority::TenantAdmin)
    } else if human && actor.id == attempt.attributes.owner_id {
        Some(Authority::ApiKeyOwner)
    } else if human {
        Some(Authority::TenantUser)
    } else {
        None
    }
}

/// Whether `authority` may take this reason away. The mesh itself takes away what time or a lift has settled.
#[must_use]
pub fn may_clear(reason: PauseReason, authority: Authority) -> bool {
    use Authority::{ApiKeyOwner, MeshOperator, SystemAuto, TenantAdmin, TenantUser};
    match reason {
        PauseReason::PolicyChange => matches!(authority, TenantAdmin | MeshOperator),
        PauseReason::BudgetWarning => matches!(authority, TenantAdmin | ApiKeyOwner),
        PauseReason::ApprovalRequired | PauseReason::RateLimitSoft => {
            matches!(authority, SystemAuto | TenantAdmin)
        }
        PauseReason::ManualPause => matches!(authority, TenantAdmin | TenantUser | ApiKeyOwner),
        PauseReason::Freeze => authority == SystemAuto,
        PauseReason::Unspecified => false,
    }
}

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

    /// Lets a paused run go on: takes away the reasons that the caller may take away.
    ///
    /// # Errors
    /// When the caller may take away none of them, or the run is not paused.
    pub async fn resume_run(
        &self,
        context: &Context,
        request: ResumeRunRequest,
    ) -> Outcome<ResumeRunResponse> {
        validate::resume(&request)?;
        let context = context.for_run(&request.run_id);
        let key = Kept::of("spine.ResumeRun", &request.run_id, &request.request_id, request.encode_to_vec());
        if let Some(first) = self.kept(&context, &key).await? {
            return Ok(first);
        }
        let attempt = self.attempt(&context, &request.run_id, 0).await?;
        if attempt.status() != RunStatus::Paused {
            return Err(Fault::new(&reasons::RUN_NOT_PAUSED, "the run is not paused")
                .precondition(format!("runs/{}", request.run_id), "the run is PAUSED"));
        }
        let now = self.now();
        let expired = |p: &&Pause| p.deadline.as_ref().is_some_and(|d| micros(d) <= now);
        if attempt.state.pauses.iter().any(|p| expired(&p)) {
            return Err(Fault::new(&reasons::PAUSE_EXPIRED, "a pause of the run reached its deadline"));
        }
        let authority = authority(&context, &attempt);
        let clearable: Vec<&Pause> = attempt
            .state
            .pauses
            .iter()
            .filter(|p| request.reason.is_empty() || present::pause_reason(p.reason()) == request.reason)
            .filter(|p| authority.is_some_and(|a| may_clear(p.reason(), a)))
            .collect();
        if clearable.is_empty() {
            return Err(self.refuse_resume(&context, &request, &attempt, authority).await);
        }
        let pause_ids: Vec<String> = clearable.iter().map(|p| p.pause_id.clone()).collect();
        let (cleared, left) = self
            .clear_pauses(
                &context,
                &attempt,
                (pause_ids, authority.unwrap_or(Authority::Unspecified)),
                &request,
                None,
            )
            .await?;
        let run = self.run_now(&context, &request.run_id).await?;
        let answer = ResumeRunResponse { run: Some(run), cleared, left };
        self.keep(&context, &key, answer).await
    }

    /// Takes reasons away; the run goes on when none is left. `slot`: the run's session, for whoever has it already.
    pub(crate) async fn clear_pauses(
        &self,
        context: &Context,
        attempt: &Attempt,
        (pause_ids, authority): (Vec<String>, Authority),
        request: &ResumeRunRequest,
        slot: Option<&mut Slot>,
    ) -> Outcome<(Vec<String>, Vec<String>)> {
        let (run_id, number) = (&attempt.state.run_id, attempt.state.attempt);
        let clear = ClearPausesRequest {
            request_id: request.request_id.clone(),
            run_id: run_id.clone(),
            attempt: number,
            pause_ids,
            actor: Some(ledger::actor(context)),
            authority: authority.into(),
            note: request.note.clone(),
            fence: attempt.state.fence,
        };
        let answer = self.bridges.stops.clear(context, clear).await.map_err(super::moves::not_moved)?;
        if answer.left.is_empty() {
            self.resume_deadline(context, attempt, &request.request_id).await?;
            let key = format!("u/{}", request.request_id);
            let (action, reference) = (ControlAction::Resumed, &request.request_id);
            match slot {
                Some(slot) => {
                    self.tell_control_in(context, (run_id, number), slot, &key, action, reference).await?;
                }
                None => self.tell_control(context, run_id, number, &key, action, reference).await?,
            }
            let said = LedgerNote {
                event: "spine.RunResumed",
                run_id,
                attempt: number,
                key: &request.request_id,
                reason: &request.note,
                ..LedgerNote::default()
            };
            self.tell_ledger(context, &said).await?;
        }
        let names = |pauses: &[Pause]| pauses.iter().map(|p| present::pause_reason(p.reason())).collect();
        Ok((names(&answer.cleared), names(&answer.left)))
    }

    async fn refuse_resume(
        &self,
        context: &Context,
        request: &ResumeRunRequest,
        attempt: &Attempt,
        authority: Option<Authority>,
    ) -> Fault {
        let name = authority.map_or("NONE", |a| a.as_str_name().trim_start_matches("AUTHORITY_"));
        let said = LedgerNote {
            event: "spine.RunResumeRefused",
            run_id: &request.run_id,
            attempt: attempt.state.attempt,
            key: &request.request_id,
            reason: name,
            ..LedgerNote::default()
        };
        match self.tell_ledger(context, &said).await {
            Ok(_) => {
                Fault::new(&reasons::RESUME_NOT_AUTHORIZED, "the caller may clear no reason of this pause")
                    .with("authority", name)
            }
            Err(fault) => fault,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_take_which_reason_away() {
        use Authority as A;
        use PauseReason as P;
        let authorities = [A::SystemAuto, A::MeshOperator, A::TenantAdmin, A::TenantUser, A::ApiKeyOwner];
        let table = [
            (P::PolicyChange, [false, true, true, false, false]),
            (P::BudgetWarning, [false, false, true, false, true]),
            (P::ApprovalRequired, [true, false, true, false, false]),
            (P::RateLimitSoft, [true, false, true, false, false]),
            (P::ManualPause, [false, false, true, true, true]),
            (P::Freeze, [true, false, false, false, false]),
        ];
        for (reason, allowed) in table {
            for (authority, expected) in authorities.into_iter().zip(allowed) {
                assert_eq!(may_clear(reason, authority), expected, "{reason:?} {authority:?}");
            }
        }
    }
}
