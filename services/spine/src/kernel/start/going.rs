//! The run is created and moved to where its decision leads.

use contracts_activity::v1::{CreateRunRequest, LeaseGrant, SnapshotRef, TransitionRunRequest};
use contracts_common::common::v1::{Lease, RunEvent, RunPhase, RunStatus, TerminationReason};
use contracts_controls::v1::RenewRunLeaseRequest;
use contracts_spine::v1::{RunCharter, RunLease, StartOutcome};
use prost::Message;
use runspine_errors::Outcome;
use runspine_rpc::Context;

use super::StartDecision;
use crate::kernel::{Kernel, LedgerNote, charter::attributes, lease::lease, state::Attempt, termination};
use crate::{
    reasons,
    sagas::completion::{Ending, OpenedBy},
};

impl Kernel {
    /// Creates the run as CREATED. One that exists is gone on with, also when it was made by another decision on the
    /// same request: a replica that has just started knows less than the one that died.
    pub(crate) async fn create(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
        trace_id: &str,
    ) -> Outcome<()> {
        let request = CreateRunRequest {
            run_id: charter.run_id.clone(),
            attributes: Some(attributes(charter, &context.agent_id)),
            status: RunStatus::Queued.into(),
            actor: Some(crate::kernel::ledger::actor(context)),
            trace_id: trace_id.to_owned(),
            start_input: charter.encode_to_vec().into(),
            authorization: None,
            snapshot: Some(SnapshotRef {
                id: decided.evaluated.snapshot_id.clone(),
                digest: decided.evaluated.snapshot_digest.clone(),
            }),
            next_attempt_at: self.put_off_until(decided),
            reason: "START_RUN".to_owned(),
            cause_id: decided.decision_id.clone(),
            degraded: decided.combined.degraded,
        };
        match self.bridges.runs.create_run(context, request).await {
            Ok(_) => Ok(()),
            Err(miss) if miss.is("RUN_EXISTS") => Ok(()),
            Err(miss) => Err(miss.into_fault(&reasons::RECORD_UNAVAILABLE)),
        }
    }

    /// Moves the created run to where its decision leads.
    pub(super) async fn set_going(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
        claim: bool,
    ) -> Outcome<(StartOutcome, Option<RunLease>)> {
        if decided.waits_for_approval() {
            // Boxed: few starts wait, and what they may lead to would make every start's future as large.
            Box::pin(self.hold(context, charter, decided)).await?;
            return Ok((StartOutcome::Waiting, None));
        }
        if decided.is_put_off() {
            return Ok((StartOutcome::Waiting, None));
        }
        if !decided.combined.permits() {
            self.deny(context, charter, decided).await?;
            return Ok((StartOutcome::Denied, None));
        }
        let state = self.attempt(context, &charter.run_id, charter.attempt).await?;
        if state.is_ending() {
            return Ok((StartOutcome::Denied, None));
        }
        if state.phase() == RunPhase::Created {
            self.authorize_start(context, charter, state.state.sequence, decided).await?;
        }
        if !claim {
            return Ok((StartOutcome::Waiting, None));
        }
        let state = self.attempt(context, &charter.run_id, charter.attempt).await?;
        let ttl = state.attributes.lease_ttl_ms;
        let granted = match state.state.lease.clone().filter(|_| state.phase() == RunPhase::Executing) {
            Some(held) => held,
            None => self.take_lease(context, &state, &Self::holder(context, "")).await?,
        };
        Ok((StartOutcome::Admitted, Some(lease(&granted, ttl))))
    }

    /// AUTHORIZED → EXECUTING with the first lease, in both copies.
    pub(crate) async fn take_lease(
        &self,
        context: &Context,
        state: &Attempt,
        holder: &str,
    ) -> Outcome<Lease> {
        let s = &state.state;
        let request = TransitionRunRequest {
            run_id: s.run_id.clone(),
            attempt: s.attempt,
            expected_sequence: s.sequence,
            event: RunEvent::Claim.into(),
            to_phase: RunPhase::Executing.into(),
            to_status: RunStatus::Running.into(),
            reason: "CLAIM".to_owned(),
            actor: Some(crate::kernel::ledger::actor(context)),
            grant: Some(LeaseGrant { holder: holder.to_owned(), ttl_ms: state.attributes.lease_ttl_ms }),
            ..TransitionRunRequest::default()
        };
        let granted = self.moved(context, request).await?.lease.unwrap_or_default();
        let holds = RenewRunLeaseRequest {
            run_id: s.run_id.clone(),
            attempt: s.attempt,
            fence: granted.fence,
            expires_at: granted.expires_at,
            freeze_epoch_seen: self.freezes.epoch(),
        };
        if let Err(miss) = self.bridges.controls.renew(context, holds).await {
            // The admission gave the holds the same time to live; the next heartbeat sets it right.
            tracing::warn!(run_id = s.run_id, ?miss, "the holds' copy of the lease was not renewed");
        }
        Ok(granted)
    }

    /// A refused start ends by the ordinary completion saga.
    pub(crate) async fn deny(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
    ) -> Outcome<()> {
        let primary = decided.combined.reasons.first().cloned().unwrap_or_default();
        let reason = termination::reason_of_refusal(&primary.check, &primary.code);
        let policy = reason == TerminationReason::PolicyBlock;
        let ending = Ending {
            causes: vec![reason],
            error_code: termination::kernel_code(reason).to_owned(),
            violation_policy_id: if policy { primary.source_id } else { String::new() },
            ..Ending::new(OpenedBy::Denied)
        };
        self.end(context, &charter.run_id, charter.attempt, ending).await?;
        self.drive(context, &charter.run_id, charter.attempt).await?;
        let said = LedgerNote {
            event: "spine.RunDenied",
            run_id: &charter.run_id,
            attempt: charter.attempt,
            key: &decided.decision_id,
            reason: &primary.code,
            ..LedgerNote::default()
        };
        self.tell_ledger(context, &said).await.map(|_| ())
    }
}
