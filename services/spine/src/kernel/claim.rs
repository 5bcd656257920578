//! A worker takes a run that waits.

use contracts_activity::v1::GrantLeaseRequest;
use contracts_common::common::v1::{Directive, GovernanceProfile, Lease, RunPhase, RunStatus, Verdict};
use contracts_controls::v1::RenewRunLeaseRequest;
use contracts_spine::v1::{RenewLeaseRequest, RenewLeaseResponse, RunCharter};
use prost::Message;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::{Context, micros};
use runspine_types::new_id;

use super::{Kernel, start::Anew, state::Attempt, step_check};
use crate::reasons;

impl Kernel {
    /// Takes a run that waits.
    pub(super) async fn claim(
        &self,
        context: &Context,
        request: &RenewLeaseRequest,
        attempt: &Attempt,
    ) -> Outcome<RenewLeaseResponse> {
        if is_resumed(attempt) {
            let holder = Self::holder(context, &request.holder);
            let granted = self.grant_again(context, request, attempt, &holder).await?;
            return Ok(self.taken(context, attempt, &granted));
        }
        let wait = attempt.state.next_attempt_at.as_ref().map_or(0, |at| micros(at).millis_since(self.now()));
        match (attempt.phase(), attempt.status()) {
            (RunPhase::Created, RunStatus::Queued) | (RunPhase::Authorized, _) if wait > 0 => {
                Ok(self.waits(context, attempt, u64::try_from(wait).unwrap_or(0)))
            }
            (RunPhase::Authorized, _) => self.claim_authorized(context, request, attempt).await,
            (RunPhase::Created, RunStatus::Queued) => self.claim_put_off(context, request, attempt).await,
            (phase, _) => Err(Fault::new(&reasons::RUN_NOT_CLAIMABLE, "nobody can claim the run now")
                .with("phase", phase.as_str_name())),
        }
    }

    async fn claim_put_off(
        &self,
        context: &Context,
        request: &RenewLeaseRequest,
        attempt: &Attempt,
    ) -> Outcome<RenewLeaseResponse> {
        // Boxed: few starts are put off, and what they lead to would make every heartbeat's future as large.
        match Box::pin(self.decide_anew(context, attempt)).await? {
            Anew::Authorized => {
                let state = &attempt.state;
                let authorized = self.attempt(context, &state.run_id, state.attempt).await?;
                self.claim_authorized(context, request, &authorized).await
            }
            Anew::Waits(retry_after_ms) => Ok(self.waits(context, attempt, retry_after_ms)),
            Anew::Refused => {
                let answer = self.lease_answer(context, attempt, None);
                Ok(RenewLeaseResponse { directive: Directive::Terminate.into(), ..answer })
            }
        }
    }

    async fn claim_authorized(
        &self,
        context: &Context,
        request: &RenewLeaseRequest,
        attempt: &Attempt,
    ) -> Outcome<RenewLeaseResponse> {
        let holder = Self::holder(context, &request.holder);
        match self.begin_executing(context, attempt, &holder).await? {
            Ok(granted) => {
                let (run_id, number) = (&attempt.state.run_id, attempt.state.attempt);
                self.follow_running_time(context, run_id, number, "CLAIMED", &new_id()).await?;
                Ok(self.taken(context, attempt, &granted))
            }
            Err(retry_after_ms) => Ok(self.waits(context, attempt, retry_after_ms)),
        }
    }

    fn taken(&self, context: &Context, attempt: &Attempt, granted: &Lease) -> RenewLeaseResponse {
        let answer = self.lease_answer(context, attempt, Some(granted));
        RenewLeaseResponse { status: RunStatus::Running.into(), ..answer }
    }

    fn waits(&self, context: &Context, attempt: &Attempt, retry_after_ms: u64) -> RenewLeaseResponse {
        RenewLeaseResponse { retry_after_ms, ..self.lease_answer(context, attempt, None) }
    }

    /// AUTHORIZED → EXECUTING once there is room; else how long to wait, in milliseconds.
    async fn begin_executing(
        &self,
        context: &Context,
        attempt: &Attempt,
        holder: &str,
    ) -> Outcome<Result<Lease, u64>> {
        let charter = self.stored_charter(context, attempt).await?;
        let scope = Some(step_check::scope(&attempt.attributes, "", ""));
        let request = self.admit_run(&charter, scope, &new_id(), self.now());
        match self.bridges.controls.admit_run(context, request).await {
            Ok(answer) => {
                let finding = step_check::limits_finding(&answer.admission.unwrap_or_default());
                let admitted = matches!(finding.verdict, Verdict::Allow | Verdict::Modify);
                if !admitted && attempt.profile() != GovernanceProfile::ObserveOnly {
                    return Ok(Err(finding.retry_after_ms.max(1_000)));
                }
            }
            Err(miss) => {
                let finding = step_check::controls_silent(attempt.profile());
                tracing::warn!(?miss, "a decider can't decide");
                if finding.verdict == Verdict::Deny {
                    return Ok(Err(1_000));
                }
            }
        }
        self.take_lease(context, attempt, holder).await.map(Ok)
    }

    /// A resumed run gets a new lease; the old fence moves nothing any more.
    async fn grant_again(
        &self,
        context: &Context,
        request: &RenewLeaseRequest,
        attempt: &Attempt,
        holder: &str,
    ) -> Outcome<Lease> {
        let state = &attempt.state;
        let request_id = if request.request_id.is_empty() { new_id() } else { request.request_id.clone() };
        let grant = GrantLeaseRequest {
            request_id,
            run_id: state.run_id.clone(),
            attempt: state.attempt,
            holder: holder.to_owned(),
            ttl_ms: attempt.attributes.lease_ttl_ms,
        };
        let granted = self.bridges.leases.grant(context, grant).await;
        let granted = granted.map_err(super::lease::not_renewed)?.lease.unwrap_or_default();
        let holds = RenewRunLeaseRequest {
            run_id: state.run_id.clone(),
            attempt: state.attempt,
            fence: granted.fence,
            expires_at: granted.expires_at,
            freeze_epoch_seen: self.freezes.epoch(),
        };
        let renewed = self.bridges.controls.renew(context, holds).await;
        renewed.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
        Ok(granted)
    }

    /// The charter that activity keeps with the run, for this attempt of it.
    pub(crate) async fn stored_charter(&self, context: &Context, attempt: &Attempt) -> Outcome<RunCharter> {
        let (run_id, number) = (&attempt.state.run_id, attempt.state.attempt);
        let stored = self.read_attempt(context, run_id, number, true).await?;
        let input = stored.map(|s| s.state.start_input).unwrap_or_default();
        let charter = RunCharter::decode(input)
            .map_err(|e| Fault::new(&mesh::INTERNAL, "a stored charter can't be read").caused_by(e))?;
        Ok(RunCharter { attempt: number, ..charter })
    }
}

/// Whether a run was resumed and nobody holds it yet: the next renewal or claim grants anew.
pub(super) fn is_resumed(attempt: &Attempt) -> bool {
    let free = attempt.state.lease_suspended || attempt.state.lease.is_none();
    attempt.phase() == RunPhase::Executing && attempt.status() == RunStatus::Running && free
}
