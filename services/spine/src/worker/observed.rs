//! Looks after runs that exist only as spans: nobody holds them but the mesh, so the mesh keeps them alive, and ends them
//! when they are quiet. Logs hands each out to one worker at a time; what one doesn't finish the next one gets.

use contracts_activity::v1::RenewLeaseRequest;
use contracts_common::common::v1::{RunPhase, StepOutcome, TerminationReason};
use contracts_logs::v1::{ClaimObservedRunsRequest, ObservedEnd, ObservedRun};
use runspine_errors::Outcome;
use runspine_rpc::Context;
use runspine_types::new_id;

use super::reconciler::Reconciler;
use crate::{
    kernel::OBSERVED_LEASE_MS,
    reasons,
    sagas::completion::{Driven, Ending, OpenedBy},
};

/// Calls that looking after observed runs makes, beside those of an ending.
pub(super) const CALLS: [&str; 2] =
    ["runspine.logs.v1.SpanService/ClaimObservedRuns", "runspine.activity.v1.RunStoreService/RenewLease"];

impl Reconciler {
    pub(super) async fn observed(&self) -> Vec<ObservedRun> {
        let request = ClaimObservedRunsRequest {
            limit: self.config.batch,
            lease_ms: u64::try_from(self.config.claim_ms).unwrap_or(30_000),
            request_id: new_id(),
        };
        match self.kernel.bridges.spans.claim_observed(&self.context, request).await {
            Ok(claimed) => claimed.runs,
            Err(miss) => {
                tracing::warn!(?miss, "observed runs can't be claimed");
                Vec::new()
            }
        }
    }

    pub(super) async fn look_after(&self, run: ObservedRun) {
        let context = self.context_for(&run.tenant_id, &run.run_id);
        let looked = match &run.end {
            None => self.keep_observed(&context, &run).await,
            Some(end) => self.end_observed(&context, &run, end).await,
        };
        if let Err(fault) = looked {
            tracing::warn!(run_id = run.run_id, %fault, "an observed run is looked after again");
        }
    }

    /// Nobody else renews its lease. One that was not set going yet has none: its start is taken up by its promise.
    async fn keep_observed(&self, context: &Context, run: &ObservedRun) -> Outcome<()> {
        let Some(attempt) = self.kernel.read_attempt(context, &run.run_id, run.attempt, false).await? else {
            return Ok(());
        };
        let Some(lease) = attempt.state.lease.clone().filter(|_| attempt.phase() == RunPhase::Executing)
        else {
            return Ok(());
        };
        let renew = RenewLeaseRequest {
            request_id: new_id(),
            run_id: run.run_id.clone(),
            attempt: run.attempt,
            holder: lease.holder,
            ttl_ms: i64::try_from(OBSERVED_LEASE_MS).unwrap_or(i64::MAX),
            fence: attempt.state.fence,
        };
        let renewed = self.kernel.bridges.leases.renew(context, renew).await;
        renewed.map(|_| ()).map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))
    }

    async fn end_observed(&self, context: &Context, run: &ObservedRun, end: &ObservedEnd) -> Outcome<()> {
        // What this replica knew of the run is older than its last spans.
        self.kernel.sessions.drop_attempt(&run.tenant_id, &run.run_id, run.attempt);
        self.kernel.end(context, &run.run_id, run.attempt, ending(end)).await?;
        match self.kernel.drive(context, &run.run_id, run.attempt).await? {
            Driven::Done(_) => {}
            // It is claimed again, and its promise is overdue soon.
            Driven::Open(why) | Driven::Stuck(why) => {
                tracing::warn!(run_id = run.run_id, why, "an observed run does not end yet");
            }
        }
        Ok(())
    }
}

/// What its spans say, as an ending.
fn ending(end: &ObservedEnd) -> Ending {
    let failed = end.outcome() == StepOutcome::Failure;
    let cause = if failed { TerminationReason::AgentFailure } else { TerminationReason::Completed };
    Ending {
        causes: vec![cause],
        agent_code: end.error_code.clone(),
        retryable: false,
        ..Ending::new(OpenedBy::Quiet)
    }
}
