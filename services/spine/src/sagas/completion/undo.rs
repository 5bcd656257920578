//! Undoing: backwards, each undo beside its action and acknowledged as ROLLED_BACK; then the run ends as a failure of
//! the system, with an incident of its own.

use contracts_activity::v1::{FinishRunRequest, IncidentDisposition, IncidentResult};
use contracts_common::common::v1::{RunEvent, RunPhase, RunStatus, TerminationReason};
use contracts_controls::v1::ReverseSettlementRequest;
use contracts_incidents::v1::{
    Category, IncidentSource, ReportIncidentRequest, Severity, TriggerType, VoidIncidentRequest,
};
use contracts_logs::v1::AppendIntentRequest;
use contracts_policies::v1::SupersedeEvaluationRequest;
use contracts_spine::v1::{CompensationIntent, CompletionIntent};
use prost::Message;
use runspine_rpc::timestamp;

use super::{
    drive::{Hitch, Run, system},
    journal::Journal,
    plan::{Ack, Act, Progress},
};
use crate::kernel::{Kernel, termination::code};

/// The kind of the intent that turns the saga back.
pub(crate) const COMPENSATION: &str = "COMPENSATION";

impl Kernel {
    /// Journals that everything done is undone, and why.
    pub(super) async fn begin_undoing(
        &self,
        run: &Run<'_>,
        refused: Act,
        progress: &Progress,
    ) -> Result<(), Hitch> {
        let (domain, action) = refused.name();
        let error_reason = match progress.ack(refused) {
            Ack::Failed(reason) => reason.clone(),
            _ => String::new(),
        };
        tracing::error!(run_id = run.run_id, domain, action, error_reason, "a completion is undone");
        let payload = CompensationIntent { refused_action: format!("{domain}/{action}"), error_reason };
        let request = AppendIntentRequest {
            key: Some(run.key()),
            kind: COMPENSATION.to_owned(),
            payload: payload.encode_to_vec().into(),
            fence: run.fence,
            expected_seq: 0,
        };
        match self.bridges.contracts.intent(run.context, request).await {
            Ok(_) => Ok(()),
            Err(miss) if miss.is("INTENT_EXISTS") => Ok(()),
            Err(miss) => Err(Hitch::forward(&miss)),
        }
    }

    /// Undoes one action and acknowledges it. Gives the id of what was undone.
    pub(super) async fn undo(&self, run: &Run<'_>, act: Act, progress: &Progress) -> Result<String, Hitch> {
        let Ack::Done(done) = progress.ack(act).clone() else { return Ok(String::new()) };
        let saga_id = format!("{}/{}", run.run_id, run.attempt);
        let reason = "the completion was undone".to_owned();
        let undone = match act {
            Act::SettleBudget => {
                let request = ReverseSettlementRequest { settlement_id: done.clone(), saga_id, reason };
                self.bridges.settlements.reverse(run.context, request).await.map(|_| ())
            }
            Act::RecordEvaluation => {
                let request = SupersedeEvaluationRequest { evaluation_id: done.clone(), reason, saga_id };
                self.bridges.policies.supersede(run.context, request).await.map(|_| ())
            }
            Act::ReportOutcome => {
                let request = VoidIncidentRequest {
                    run_id: run.run_id.to_owned(),
                    attempt: run.attempt,
                    cause: String::new(),
                    incident_id: done.clone(),
                    reason,
                    request_id: saga_uuid(run),
                };
                self.bridges.incidents.void(run.context, request).await.map(|_| ())
            }
        };
        undone.map_err(|miss| Hitch::forward(&miss))?;
        self.acknowledge(run, &[(act, Ack::RolledBack(done.clone()))]).await?;
        Ok(done)
    }

    /// Evaluates anew, reports the failure of the mesh as an incident of its own, ends the run and seals the trace.
    pub(super) async fn end_compensated(
        &self,
        run: &Run<'_>,
        intent: &CompletionIntent,
        journal: &Journal,
    ) -> Result<(), Hitch> {
        let failed = CompletionIntent {
            status: RunStatus::Failed.into(),
            reason: TerminationReason::SystemFailure.into(),
            error_code: code::SAGA_COMPENSATED.to_owned(),
            ..intent.clone()
        };
        let revision = u32::from(matches!(journal.progress.evaluation, Ack::RolledBack(_)));
        let judged = match self.record_evaluation(run, &failed, revision).await {
            // The attempt was judged otherwise by somebody else; that verdict is superseded, or refuses this one.
            Err(miss) if revision == 0 && miss.is("IDEMPOTENCY_MISMATCH") => {
                self.record_evaluation(run, &failed, 1).await
            }
            other => other,
        };
        let (_, evaluation) = judged.map_err(|miss| Hitch::forward(&miss))?;
        let Ack::Done(evaluation_id) = evaluation else {
            return Err(Hitch::Stuck("the ending of an undone saga has no evaluation".to_owned()));
        };
        self.report_system_failure(run, &failed).await?;
        let ended = journal.progress.run.is_some_and(|(phase, _)| phase == RunPhase::Failed);
        if !ended {
            self.fail(run, &failed, evaluation_id, journal).await?;
        }
        self.tell_end(run, &failed).await?;
        self.seal(run, &failed, "COMPENSATED").await
    }

    async fn report_system_failure(&self, run: &Run<'_>, intent: &CompletionIntent) -> Result<(), Hitch> {
        let charter = run.charter.clone().unwrap_or_default();
        let request = ReportIncidentRequest {
            source: IncidentSource::System.into(),
            trigger_type: TriggerType::System.into(),
            category: Category::System.into(),
            cause_code: "SYSTEM_FAILURE".to_owned(),
            severity: Severity::High.into(),
            title: "A completion was undone".to_owned(),
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            fact_id: format!("run/{}/{}", run.run_id, run.attempt),
            occurred_at: intent.at.or_else(|| Some(timestamp(self.now()))),
            agent_id: charter.agent_id,
            project_id: charter.project_id,
            ..ReportIncidentRequest::default()
        };
        let reported = self.bridges.incidents.report(run.context, request).await;
        reported.map(|_| ()).map_err(|miss| Hitch::forward(&miss))
    }

    async fn fail(
        &self,
        run: &Run<'_>,
        intent: &CompletionIntent,
        evaluation_id: String,
        journal: &Journal,
    ) -> Result<(), Hitch> {
        let voided = match &journal.progress.incident {
            Ack::RolledBack(id) => id.clone(),
            _ => String::new(),
        };
        let disposition = if voided.is_empty() {
            IncidentDisposition::NotApplicable
        } else {
            IncidentDisposition::RolledBack
        };
        let state = self.read_attempt(run.context, run.run_id, run.attempt, false).await?;
        let request = FinishRunRequest {
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            status: intent.status,
            termination_reason: intent.reason,
            error_code: intent.error_code.clone(),
            error_message: intent.error_message.clone(),
            stopped_at_step: intent.stopped_at_step,
            usage: intent.usage,
            incident_result: Some(IncidentResult { disposition: disposition.into(), id: voided }),
            evaluation_id,
            fence: state.map_or(0, |s| s.state.fence),
            event: RunEvent::Fail.into(),
            actor: Some(system()),
            causes: intent.causes.clone(),
            ..FinishRunRequest::default()
        };
        let ended = self.bridges.runs.finish(run.context, request).await;
        ended.map(|_| ()).map_err(|miss| Hitch::forward(&miss))
    }
}

fn saga_uuid(run: &Run<'_>) -> String {
    let digest = runspine_types::Hasher::new("runspine.saga.v1")
        .sized(run.run_id.as_bytes())
        .fixed(&run.attempt.to_be_bytes())
        .finish();
    runspine_types::derived_id(digest)
}
