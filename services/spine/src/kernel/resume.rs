//! Lets a paused run go on, by the authority of the credential: where it stopped, or as a new attempt.

use contracts_activity::v1::{Authority, ClearPausesRequest, Pause, PauseReason};
use contracts_common::common::v1::{ActorType, RunStatus, TerminationReason};
use contracts_logs::v1::ControlAction;
use contracts_spine::v1::{NextAttempt, ResumeRunRequest, ResumeRunResponse};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::{Context, micros};
use runspine_types::{Digest, Hasher};

use super::kept::Kept;
use super::{
    Kernel, LedgerNote, complete::ambiguous, ledger, present, sessions::Slot, state::Attempt,
    termination::code, validate,
};
use crate::{
    reasons,
    sagas::completion::{Ending, OpenedBy, first_intent},
};

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
        if request.as_new_attempt
            && let Some(ended) = self.ended_by(&context, &attempt, digest_of(&request)).await?
        {
            let answer = self.go_on_anew(&context, &request, ended).await?;
            return self.keep(&context, &key, answer).await;
        }
        self.require_paused(&attempt)?;
        let authority = authority(&context, &attempt);
        let pauses = attempt.state.pauses.iter();
        let (clearable, held): (Vec<&Pause>, Vec<&Pause>) = pauses
            .filter(|p| request.as_new_attempt || asked_for(p, &request.reason))
            .partition(|p| authority.is_some_and(|a| may_clear(p.reason(), a)));
        // A new attempt leaves the whole pause behind, so whoever orders it has to be able to end all of it.
        if clearable.is_empty() || (request.as_new_attempt && !held.is_empty()) {
            return Err(self.refuse_resume(&context, &request, &attempt, authority).await);
        }
        let answer = if request.as_new_attempt {
            self.end_for_new_attempt(&context, &request, &attempt).await?;
            self.go_on_anew(&context, &request, attempt.state.attempt).await?
        } else {
            let pause_ids = clearable.iter().map(|p| p.pause_id.clone()).collect();
            let by = authority.unwrap_or(Authority::Unspecified);
            let (cleared, left) =
                self.clear_pauses(&context, &attempt, (pause_ids, by), &request, None).await?;
            let run = self.run_now(&context, &request.run_id).await?;
            ResumeRunResponse { run: Some(run), cleared, left, next_attempt: None }
        };
        self.keep(&context, &key, answer).await
    }

    fn require_paused(&self, attempt: &Attempt) -> Outcome<()> {
        if attempt.status() != RunStatus::Paused {
            return Err(Fault::new(&reasons::RUN_NOT_PAUSED, "the run is not paused")
                .precondition(format!("runs/{}", attempt.state.run_id), "the run is PAUSED"));
        }
        let now = self.now();
        let expired = |p: &Pause| p.deadline.as_ref().is_some_and(|d| micros(d) <= now);
        if attempt.state.pauses.iter().any(expired) {
            return Err(Fault::new(&reasons::PAUSE_EXPIRED, "a pause of the run reached its deadline"));
        }
        Ok(())
    }

    /// The attempt that this very order has ended already, if it has: whoever asks again goes on from there.
    async fn ended_by(&self, context: &Context, latest: &Attempt, order: Digest) -> Outcome<Option<u32>> {
        let (run_id, last) = (&latest.state.run_id, latest.state.attempt);
        for number in [last, last - 1].into_iter().filter(|n| *n > 0) {
            let contract = self.contract(context, run_id, number).await?;
            if first_intent(&contract).is_some_and(|intent| intent.request_digest == order.as_bytes()) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The paused attempt ends, by an order and not by what it did, so that the next may begin.
    async fn end_for_new_attempt(
        &self,
        context: &Context,
        request: &ResumeRunRequest,
        attempt: &Attempt,
    ) -> Outcome<()> {
        let (run_id, number) = (&attempt.state.run_id, attempt.state.attempt);
        if number >= attempt.attributes.max_attempts {
            return Err(Fault::new(&reasons::ATTEMPTS_EXHAUSTED, "the run has no attempt left")
                .precondition(format!("runs/{run_id}"), "attempt < max_attempts")
                .with("max_attempts", attempt.attributes.max_attempts));
        }
        let unknown = self.unknown_outcomes(context, run_id, number).await?;
        if !unknown.is_empty() {
            return Err(ambiguous(&unknown));
        }
        let ending = Ending {
            causes: vec![TerminationReason::SystemFailure],
            error_code: code::MANUAL_STOP.to_owned(),
            request_digest: digest_of(request).to_vec(),
            ..Ending::new(OpenedBy::Resumed)
        };
        let order = ending.request_digest.clone();
        let first = self.end(context, run_id, number, ending).await?;
        if first.request_digest != order {
            return Err(Fault::new(&reasons::RUN_ENDED, "the attempt was ended otherwise meanwhile"));
        }
        Ok(())
    }

    /// Drives the ended attempt, and the making of the next, as far as the deadline allows; the reconciler does the rest.
    async fn go_on_anew(
        &self,
        context: &Context,
        request: &ResumeRunRequest,
        ended: u32,
    ) -> Outcome<ResumeRunResponse> {
        let run_id = &request.run_id;
        self.drive(context, run_id, ended).await?;
        self.tell_resumed(context, ended, request).await?;
        let next = self.attempt(context, run_id, 0).await?;
        let next_attempt = (next.state.attempt > ended)
            .then(|| NextAttempt { attempt: ended + 1, not_before: next.state.next_attempt_at });
        let run = Some(self.run_now(context, run_id).await?);
        Ok(ResumeRunResponse { run, next_attempt, ..ResumeRunResponse::default() })
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
            self.tell_resumed(context, number, request).await?;
        }
        let names = |pauses: &[Pause]| pauses.iter().map(|p| present::pause_reason(p.reason())).collect();
        Ok((names(&answer.cleared), names(&answer.left)))
    }

    async fn tell_resumed(&self, context: &Context, attempt: u32, request: &ResumeRunRequest) -> Outcome<()> {
        let said = LedgerNote {
            event: "spine.RunResumed",
            run_id: &request.run_id,
            attempt,
            key: &request.request_id,
            reason: &request.note,
            ..LedgerNote::default()
        };
        self.tell_ledger(context, &said).await.map(|_| ())
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
            Ok(_) => Fault::new(
                &reasons::RESUME_NOT_AUTHORIZED,
                "the caller may not clear what the run is paused for",
            )
            .with("authority", name),
            Err(fault) => fault,
        }
    }
}

fn asked_for(pause: &Pause, reason: &str) -> bool {
    reason.is_empty() || present::pause_reason(pause.reason()) == reason
}

/// What names an order in the journal of the attempt that it ends.
fn digest_of(request: &ResumeRunRequest) -> Digest {
    Hasher::new("runspine.request.v1").sized(b"ResumeRun").sized(&request.encode_to_vec()).finish()
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
