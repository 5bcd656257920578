//! A start that a person has to approve: the run waits, and goes on or ends when it is decided.

use contracts_activity::v1::AuthorizationDecision;
use contracts_common::common::v1::{RunEvent, RunPhase, RunStatus, TerminationReason};
use contracts_policies::v1::{Approval, ApprovalState, GetDecisionRequest};
use contracts_spine::v1::RunCharter;
use runspine_errors::Outcome;
use runspine_rpc::Context;

use super::StartDecision;
use crate::{
    kernel::{
        Kernel, LedgerNote,
        state::Attempt,
        termination::{self, code},
    },
    reasons,
    sagas::completion::{Ending, OpenedBy},
};

impl Kernel {
    /// CREATED / PENDING_APPROVAL. A decision that came before it is acted on at once.
    pub(super) async fn hold(
        &self,
        context: &Context,
        charter: &RunCharter,
        decided: &StartDecision,
    ) -> Outcome<()> {
        let state = self.attempt(context, &charter.run_id, charter.attempt).await?;
        if (state.phase(), state.status()) == (RunPhase::Created, RunStatus::Queued) {
            let sequence = state.state.sequence;
            let mut request = self.transition(charter, sequence, RunEvent::Hold, &decided.decision_id);
            request.authorization = Some(self.authorization(decided, AuthorizationDecision::PendingApproval));
            self.moved(context, request).await?;
        }
        let approval = self.approval(context, decided.approval_id()).await?;
        self.start_resolved(context, &approval).await
    }

    /// The approval of a start was decided, or can't be any more.
    pub(crate) async fn start_resolved(&self, context: &Context, approval: &Approval) -> Outcome<()> {
        let (run_id, number) = (approval.run_id.as_str(), approval.attempt);
        let Some(attempt) = self.read_attempt(context, run_id, number, false).await? else { return Ok(()) };
        if (attempt.phase(), attempt.status()) != (RunPhase::Created, RunStatus::PendingApproval) {
            return Ok(());
        }
        match approval.state() {
            ApprovalState::Approved => self.approved_start(context, &attempt, approval).await,
            ApprovalState::Rejected => {
                self.refuse_start(context, approval, code::APPROVAL_REJECTED, "").await
            }
            ApprovalState::Expired | ApprovalState::Lapsed | ApprovalState::Cancelled => {
                self.refuse_start(context, approval, code::APPROVAL_EXPIRED, "").await
            }
            _ => Ok(()),
        }
    }

    /// The rules are asked again, now with the approval; who repeats this gets the first answer.
    async fn approved_start(&self, context: &Context, attempt: &Attempt, approval: &Approval) -> Outcome<()> {
        let charter = self.stored_charter(context, attempt).await?;
        let get = GetDecisionRequest { decision_id: approval.decision_id.clone(), include_inputs: false };
        let asked = self.bridges.policy_runs.decision(context, get).await;
        let asked = asked.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        let ask = asked.decision.unwrap_or_default().ask + 1;
        let decided = self.ask_again(context, attempt, &charter, ask, &approval.approval_id).await?;
        if !decided.combined.permits() {
            let primary = decided.combined.reasons.first().cloned().unwrap_or_default();
            let reason = termination::reason_of_refusal(&primary.check, &primary.code);
            let code = match reason {
                TerminationReason::PolicyBlock => code::APPROVAL_EXPIRED,
                other => termination::kernel_code(other),
            };
            return self.refuse_start(context, approval, code, &primary.source_id).await;
        }
        let approved =
            self.transition(&charter, attempt.state.sequence, RunEvent::Approved, &decided.decision_id);
        let sequence = self
            .moved(context, approved)
            .await?
            .transition
            .map_or(attempt.state.sequence + 1, |t| t.sequence);
        self.authorize_start(context, &charter, sequence, &decided).await
    }

    /// A start that nobody approves ends by the ordinary completion saga.
    async fn refuse_start(
        &self,
        context: &Context,
        approval: &Approval,
        code: &str,
        rule_id: &str,
    ) -> Outcome<()> {
        let first = approval.rule_ids.first().map_or("", String::as_str);
        let ending = Ending {
            causes: vec![TerminationReason::PolicyBlock],
            error_code: code.to_owned(),
            violation_policy_id: if rule_id.is_empty() { first } else { rule_id }.to_owned(),
            ..Ending::new(OpenedBy::Denied)
        };
        self.end(context, &approval.run_id, approval.attempt, ending).await?;
        self.drive(context, &approval.run_id, approval.attempt).await?;
        let said = LedgerNote {
            event: "spine.RunDenied",
            run_id: &approval.run_id,
            attempt: approval.attempt,
            key: &approval.approval_id,
            reason: code,
            ..LedgerNote::default()
        };
        self.tell_ledger(context, &said).await.map(|_| ())
    }
}
