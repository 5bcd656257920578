//! Whether there is room for a run, before anything is promised.

use contracts_common::common::v1::Verdict;
use contracts_controls::v1::SimulateAdmissionRequest;
use contracts_spine::v1::{RunCharter, StartOutcome, StartRunRequest, StartRunResponse};
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};

use crate::kernel::{Kernel, LedgerNote, charter::attributes, step_check};

impl Kernel {
    /// How long to wait, in milliseconds, when there is no room now.
    pub(super) async fn no_room(&self, context: &Context, charter: &RunCharter) -> Outcome<Option<u64>> {
        let request = SimulateAdmissionRequest {
            scope: Some(step_check::scope(&attributes(charter, &context.agent_id), "", "")),
            amounts: charter.requested,
            at: Some(timestamp(self.now())),
            profile: charter.profile,
        };
        match self.bridges.settlements.simulate(context, request).await {
            Ok(answer) => {
                let admission = answer.admission.unwrap_or_default();
                let wait = u64::try_from(admission.retry_after_ms.unwrap_or(0)).unwrap_or(0);
                Ok((admission.verdict() == Verdict::Defer).then_some(wait.max(100)))
            }
            // Whether it may start is decided by the admission itself; here only room is asked for.
            Err(miss) => {
                tracing::warn!(?miss, "nobody says whether there is room");
                Ok(None)
            }
        }
    }

    pub(super) async fn deferred(
        &self,
        context: &Context,
        request: &StartRunRequest,
        wait: u64,
    ) -> Outcome<StartRunResponse> {
        let said = LedgerNote {
            event: "spine.RunDenied",
            key: &request.request_id,
            reason: "DEFERRED",
            ..LedgerNote::default()
        };
        self.tell_ledger(context, &said).await?;
        let answer = StartRunResponse {
            outcome: StartOutcome::Deferred.into(),
            retry_after_ms: wait,
            ..StartRunResponse::default()
        };
        self.keep_start(context, request, answer).await
    }
}
