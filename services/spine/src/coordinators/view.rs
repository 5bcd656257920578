//! A run as people look at it.

use std::time::Duration;

use contracts_activity::v1::GetRunViewRequest;
use contracts_logs::v1::GetAuditContractRequest;
use contracts_spine::v1::{GetRunRequest, GetRunResponse, RunLease, RunView, TransactionPhase};
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;

use super::source::ask;
use crate::{
    kernel::{Kernel, contract_key, run_attempt, run_of_view, transition, validate},
    reasons,
    sagas::completion::saga,
};

const PATIENCE: Duration = Duration::from_millis(1_500);

impl Kernel {
    /// A run with as much of it as was asked for.
    ///
    /// # Errors
    /// When it is not known, or activity can't be asked.
    pub async fn get_run(&self, context: &Context, request: GetRunRequest) -> Outcome<GetRunResponse> {
        validate::run_id(&request.run_id)?;
        let get = GetRunViewRequest { run_id: request.run_id.clone() };
        let view = self.bridges.views.run_view(context, get).await.map_err(|miss| {
            if miss.is_not_found() {
                Fault::new(&reasons::RUN_NOT_FOUND, "no such run for this tenant")
                    .with("run_id", &request.run_id)
            } else {
                miss.into_fault(&reasons::DECISION_UNAVAILABLE)
            }
        })?;
        let latest = view.run.as_ref().map_or(1, |r| r.attempt);
        let attempt = if request.attempt == 0 { latest } else { request.attempt };
        if attempt > latest {
            return Err(Fault::new(&reasons::ATTEMPT_NOT_FOUND, "the run has no such attempt")
                .with("attempt", attempt));
        }
        let get = GetAuditContractRequest { key: Some(contract_key(&request.run_id, attempt)) };
        let promised = ask("logs.contract", PATIENCE, self.bridges.reconciler.contract(context, get), |c| {
            usize::from(c.contract.is_some())
        })
        .await;
        let contract = promised.answer.and_then(|c| c.contract);
        let saga = contract.as_ref().map(saga);
        let phase = saga.as_ref().map_or(TransactionPhase::Unspecified, |s| s.transaction_phase());
        let ttl = view.run.as_ref().and_then(|r| r.attributes.as_ref()).map_or(0, |a| a.lease_ttl_ms);
        let mut answer = GetRunResponse {
            run: view.run.map(|run| run_of_view(run, phase)),
            attempts: view.attempts.into_iter().map(run_attempt).collect(),
            ..GetRunResponse::default()
        };
        if let (Some(run), Some(contract)) = (answer.run.as_mut().filter(|r| r.attempt == attempt), &contract)
        {
            // The contract has it before the event that tells the projection has arrived.
            run.audit_status = contract.audit_status;
        }
        if request.view() == RunView::Full {
            answer.transitions =
                view.transitions.into_iter().filter(|t| t.attempt == attempt).map(transition).collect();
            answer.pauses = view
                .pauses
                .iter()
                .filter(|p| p.attempt == attempt && p.cleared_at.is_none())
                .map(crate::kernel::pause)
                .collect();
            answer.lease = view.lease.map(|l| RunLease {
                fence: l.fence,
                holder: l.holder,
                expires_at: l.expires_at,
                renew_every_ms: u64::try_from(ttl / 3).unwrap_or(0),
            });
            answer.saga = saga;
            answer.sources = vec![promised.status];
        }
        Ok(answer)
    }
}
