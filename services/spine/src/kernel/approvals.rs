//! A run that waits for a person goes on when the person decided, whatever was decided: the next answer says what.

use contracts_activity::v1::{Authority, PauseReason};
use contracts_policies::v1::{Approval, ApprovalState, GetApprovalRequest};
use contracts_spine::v1::ResumeRunRequest;
use runspine_errors::Outcome;
use runspine_rpc::Context;

use super::{Kernel, sessions::Slot};
use crate::reasons;

impl Kernel {
    /// An approval as it stands.
    pub(crate) async fn approval(&self, context: &Context, approval_id: &str) -> Outcome<Approval> {
        let get = GetApprovalRequest { approval_id: approval_id.to_owned() };
        let found = self.bridges.approvals.approval(context, get).await;
        let found = found.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        Ok(found.approval.unwrap_or_default())
    }

    /// An approval was decided, or can't be any more.
    pub(crate) async fn approval_resolved(&self, context: &Context, approval: &Approval) -> Outcome<()> {
        match approval.step_index {
            Some(_) => self.resume_after(context, approval, None).await,
            None => self.start_resolved(context, approval).await,
        }
    }

    /// The same for a step call that has just paused its run.
    pub(super) async fn resume_if_resolved(
        &self,
        context: &Context,
        approval_id: &str,
        slot: &mut Slot,
    ) -> Outcome<()> {
        if approval_id.is_empty() {
            return Ok(());
        }
        let approval = self.approval(context, approval_id).await?;
        if matches!(approval.state(), ApprovalState::Pending | ApprovalState::Escalated) {
            return Ok(());
        }
        self.resume_after(context, &approval, Some(slot)).await
    }

    async fn resume_after(
        &self,
        context: &Context,
        approval: &Approval,
        slot: Option<&mut Slot>,
    ) -> Outcome<()> {
        let (run_id, number) = (approval.run_id.as_str(), approval.attempt);
        let Some(attempt) = self.read_attempt(context, run_id, number, false).await? else { return Ok(()) };
        let waiting =
            attempt.state.pauses.iter().filter(|p| {
                p.reason() == PauseReason::ApprovalRequired && p.source_id == approval.approval_id
            });
        let pause_ids: Vec<String> = waiting.map(|p| p.pause_id.clone()).collect();
        if pause_ids.is_empty() || attempt.is_ending() {
            return Ok(());
        }
        let request = ResumeRunRequest {
            request_id: approval.approval_id.clone(),
            run_id: run_id.to_owned(),
            note: "the approval that the run waited for was decided".to_owned(),
            ..ResumeRunRequest::default()
        };
        let cleared = (pause_ids, Authority::SystemAuto);
        self.clear_pauses(context, &attempt, cleared, &request, slot).await.map(|_| ())
    }
}
