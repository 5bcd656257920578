//! Keeps a run alive, and lets a holder take one that waits.

use contracts_activity::v1::RenewLeaseRequest as RenewActivity;
use contracts_common::common::v1::{Directive, Reason, RunPhase, RunStatus, Verdict};
use contracts_controls::v1::RenewRunLeaseRequest;
use contracts_spine::v1::{RenewLeaseRequest, RenewLeaseResponse, RunLease};
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;
use runspine_types::new_id;

use super::{Kernel, claim::is_resumed, combine::Check, sessions::Slot, state::Attempt};
use crate::{bridges::Called, reasons};

/// A lease as its holder sees it.
#[must_use]
pub(crate) fn lease(of: &contracts_common::common::v1::Lease, ttl_ms: i64) -> RunLease {
    RunLease {
        fence: of.fence,
        holder: of.holder.clone(),
        expires_at: of.expires_at,
        renew_every_ms: u64::try_from(ttl_ms / 3).unwrap_or(0),
    }
}

impl Kernel {
    /// Extends a lease, or claims a run that waits.
    ///
    /// # Errors
    /// When the lease is another's, lapsed, or can't be stored.
    pub async fn renew_lease(
        &self,
        context: &Context,
        request: RenewLeaseRequest,
    ) -> Outcome<RenewLeaseResponse> {
        super::validate::renew(&request)?;
        let context = context.for_run(&request.run_id);
        let attempt = self.attempt(&context, &request.run_id, request.attempt).await?;
        Self::require_own(&context, &attempt)?;
        if attempt.is_ending() {
            return Err(Fault::new(&reasons::RUN_ENDED, "the attempt has ended or is ending"));
        }
        if request.claim || is_resumed(&attempt) {
            return self.claim(&context, &request, &attempt).await;
        }
        if attempt.state.lease_suspended || attempt.phase() != RunPhase::Executing {
            return Ok(self.lease_answer(&context, &attempt, None));
        }
        Self::require_fence(&attempt, request.fence)?;
        let holder = attempt.state.lease.as_ref().map(|l| l.holder.clone()).unwrap_or_default();
        // A heartbeat needs no id of its own; one that has an id gives its first answer when it is repeated.
        let id = if request.request_id.is_empty() { new_id() } else { request.request_id.clone() };
        let renewed = self.extend(&context, &attempt, &holder, request.freeze_epoch_seen, id).await;
        let renewed = renewed.map_err(not_renewed)?;
        Ok(self.lease_answer(&context, &attempt, Some(&renewed)))
    }

    /// Extends both copies of a lease: the run's in activity and the holds' in controls.
    async fn extend(
        &self,
        context: &Context,
        attempt: &Attempt,
        holder: &str,
        epoch_seen: u64,
        request_id: String,
    ) -> Called<contracts_common::common::v1::Lease> {
        let state = &attempt.state;
        let request = RenewActivity {
            request_id,
            run_id: state.run_id.clone(),
            attempt: state.attempt,
            holder: holder.to_owned(),
            ttl_ms: attempt.attributes.lease_ttl_ms,
            fence: state.fence,
        };
        let renewed = self.bridges.leases.renew(context, request).await?.lease.unwrap_or_default();
        let holds = RenewRunLeaseRequest {
            run_id: state.run_id.clone(),
            attempt: state.attempt,
            fence: renewed.fence,
            expires_at: renewed.expires_at,
            freeze_epoch_seen: epoch_seen,
        };
        self.bridges.controls.renew(context, holds).await?;
        Ok(renewed)
    }

    /// An accepted step call renews the lease, at most once in a third of its time.
    pub(crate) async fn keep_alive(&self, context: &Context, attempt: &Attempt, slot: &mut Slot) {
        let now = self.now();
        let third = attempt.attributes.lease_ttl_ms / 3;
        let running = attempt.status() == RunStatus::Running && attempt.holds_lease(now);
        if !running {
            return;
        }
        if slot.renewed_at.0 == 0 {
            // The grant itself was a renewal; the first third counts from when this replica met the run.
            slot.renewed_at = now;
        }
        if now.millis_since(slot.renewed_at) < third {
            return;
        }
        slot.renewed_at = now;
        let holder = attempt.state.lease.as_ref().map(|l| l.holder.clone()).unwrap_or_default();
        let epoch = self.freezes.epoch();
        if let Err(miss) = self.extend(context, attempt, &holder, epoch, new_id()).await {
            tracing::warn!(run_id = attempt.state.run_id, ?miss, "a lease was not renewed");
        }
    }

    pub(super) fn lease_answer(
        &self,
        context: &Context,
        attempt: &Attempt,
        renewed: Option<&contracts_common::common::v1::Lease>,
    ) -> RenewLeaseResponse {
        let now = self.now();
        let frozen = self.freeze_finding(Self::subject(context, attempt), attempt.profile());
        let stopping = attempt.state.stop.is_some() || attempt.is_timed_out(now);
        let directive = if stopping {
            Directive::Terminate
        } else if frozen.verdict == Verdict::Deny {
            frozen.directive
        } else if attempt.status() == RunStatus::Paused {
            Directive::Pause
        } else {
            Directive::Continue
        };
        let mut reasons = frozen.reasons;
        if stopping {
            reasons.push(Reason {
                check: Check::Run.name().to_owned(),
                code: "STOP_REQUESTED".to_owned(),
                precedence: Check::Run.precedence(),
                ..Reason::default()
            });
        }
        RenewLeaseResponse {
            lease: renewed.map(|l| lease(l, attempt.attributes.lease_ttl_ms)),
            directive: directive.into(),
            reasons,
            status: attempt.state.status,
            freeze_epoch: self.freezes.epoch(),
            retry_after_ms: 0,
        }
    }
}

/// What a lease that can't be renewed means to its holder.
pub(crate) fn not_renewed(miss: crate::bridges::Miss) -> Fault {
    match miss.reason().as_str() {
        "LEASE_LAPSED" => Fault::new(&reasons::LEASE_LAPSED, "the lease lapsed; the reconciler ends the run"),
        "STALE_FENCE" => Fault::new(&reasons::STALE_FENCE, "the run has another lease"),
        "RUN_TERMINAL" => Fault::new(&reasons::RUN_ENDED, "the attempt has ended"),
        _ => miss.into_fault(&reasons::RECORD_UNAVAILABLE),
    }
}
