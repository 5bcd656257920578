//! A worker takes a run that waits.

use contracts_activity::v1::GrantLeaseRequest;
use contracts_common::common::v1::{Lease, Verdict};
use contracts_controls::v1::RenewRunLeaseRequest;
use contracts_spine::v1::{RenewLeaseRequest, RunCharter};
use prost::Message;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;
use runspine_types::new_id;

use super::{Kernel, state::Attempt, step_check};
use crate::reasons;

impl Kernel {
    /// AUTHORIZED → EXECUTING once there is room; else how long to wait, in milliseconds.
    pub(crate) async fn begin_executing(
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
                if !admitted
                    && attempt.profile() != contracts_common::common::v1::GovernanceProfile::ObserveOnly
                {
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
    pub(crate) async fn grant_again(
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
