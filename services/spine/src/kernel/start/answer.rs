//! The answer to a start.

use contracts_activity::v1::GetRunViewRequest;
use contracts_logs::v1::{self as logs};
use contracts_policies::v1::EvaluateRunResponse;
use contracts_spine::v1::{
    ContractExpectation, ContractSummary, Decision, Governance, RunCharter, RunLease, StartOutcome,
    StartRunResponse, TraceStart, TransactionPhase,
};
use runspine_errors::Outcome;
use runspine_rpc::{Context, micros, timestamp};

use super::StartDecision;
use crate::kernel::{Kernel, LedgerNote, decide::present, present::run_of_view, state::Attempt};
use crate::reasons;

impl Kernel {
    #[expect(clippy::too_many_arguments, reason = "the parts of the answer")]
    pub(super) async fn start_answer(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: StartDecision,
        trace: TraceStart,
        contract: logs::AuditContract,
        evidence: logs::CaptureEvidenceResponse,
        outcome: StartOutcome,
        granted: Option<RunLease>,
    ) -> Outcome<StartRunResponse> {
        if outcome != StartOutcome::Denied && !decided.is_put_off() {
            let said = LedgerNote {
                event: "spine.RunStarted",
                run_id: &charter.run_id,
                attempt: charter.attempt,
                key: &decided.decision_id,
                ..LedgerNote::default()
            };
            self.tell_ledger(context, &said).await?;
        }
        let get = GetRunViewRequest { run_id: charter.run_id.clone() };
        let view = self.bridges.views.run_view(context, get).await;
        let view = view.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        let state = self.attempt(context, &charter.run_id, charter.attempt).await?;
        let phase = match outcome {
            StartOutcome::Denied if state.is_terminal() => TransactionPhase::Committed,
            _ => TransactionPhase::NotStarted,
        };
        let retry_after_ms = decided.combined.retry_after_ms;
        Ok(StartRunResponse {
            outcome: outcome.into(),
            run: view.run.map(|run| run_of_view(run, phase)),
            decision: Some(self.start_decision(&decided)),
            lease: granted,
            trace: Some(trace),
            contract: Some(summary(&contract, &state, self.config.contract_deadline_ms)),
            governance: Some(governance(charter, &decided.evaluated)),
            environment_evidence_id: evidence.evidence_id,
            environment_failure_id: evidence.failure_id,
            retry_after_ms,
        })
    }

    pub(super) fn start_decision(&self, decided: &StartDecision) -> Decision {
        let decision = present(&decided.combined, decided.decision_id.clone(), 0);
        Decision { approval_id: decided.approval_id().to_owned(), ..decision }
    }
}

fn summary(contract: &logs::AuditContract, state: &Attempt, grace_ms: u64) -> ContractSummary {
    let grace = i64::try_from(grace_ms).unwrap_or(0);
    let by_running_time = state.state.run_deadline.as_ref().map(|d| timestamp(micros(d).plus_millis(grace)));
    let expectation = |e: &logs::ExpectationView| ContractExpectation {
        domain: e.domain.clone(),
        action: e.action.clone(),
        due_phase: e.due_phase,
        deadline_ms: e.deadline_ms,
    };
    let finalize = contract.expectations.iter().find(|e| e.action == "finalize_run");
    ContractSummary {
        expectations: contract.expectations.iter().map(expectation).collect(),
        run_deadline: state.state.run_deadline,
        // The promise is short until the run exists; from then on it follows the running time.
        finalize_by: by_running_time.or_else(|| finalize.and_then(|e| e.due_at)),
    }
}

fn governance(charter: &RunCharter, evaluated: &EvaluateRunResponse) -> Governance {
    let inspection = evaluated.inspection.unwrap_or_default();
    Governance {
        profile: charter.profile,
        config_version: charter.config_version.clone(),
        config_digest: charter.config_digest.clone(),
        policy_snapshot_id: evaluated.snapshot_id.clone(),
        policy_snapshot_digest: evaluated.snapshot_digest.clone(),
        log_prompt: inspection.log_prompt,
        log_response: inspection.log_response,
        capture_pii: inspection.capture_pii,
        access_secret: inspection.access_secret,
    }
}
