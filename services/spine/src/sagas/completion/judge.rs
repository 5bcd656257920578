//! The judgement of an attempt on request: the same act as the saga's, so it doesn't matter who asks first.

use contracts_common::common::v1::AckStatus;
use contracts_logs::v1::{AckView, AuditContract};
use contracts_policies::v1::{Evaluation, GetEvaluationRequest};
use contracts_spine::v1::{CreatePolicyEvaluationRequest, CreatePolicyEvaluationResponse, PolicyAck};
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;

use super::{
    drive::{Hitch, Run},
    journal::{Journal, latest},
    plan::{Ack, Act},
};
use crate::{
    bridges::Miss,
    kernel::{Kernel, validate},
    reasons,
};

impl Kernel {
    /// Judges an attempt whose end is intended, and acknowledges it.
    ///
    /// # Errors
    /// RUN_NOT_ENDING before the completion intent; an outage, when nothing is acknowledged.
    pub async fn create_policy_evaluation(
        &self,
        context: &Context,
        request: CreatePolicyEvaluationRequest,
    ) -> Outcome<CreatePolicyEvaluationResponse> {
        validate::judge(&request)?;
        let (run_id, attempt) = (request.run_id.as_str(), request.attempt);
        let state = self.attempt(context, run_id, attempt).await?;
        Self::require_own(context, &state)?;
        let contract = self.contract(context, run_id, attempt).await?;
        let journal = Journal::read(&contract, Some(&state));
        let Some(intent) = &journal.intent else {
            let text = "nobody has said yet how the attempt ends";
            return Err(Fault::new(&reasons::RUN_NOT_ENDING, text).with("run_id", run_id));
        };
        if journal.progress.evaluation != Ack::Open {
            return self.judged(context, &contract, true).await;
        }
        let run = Run {
            context,
            run_id,
            attempt,
            fence: journal.fence,
            charter: crate::kernel::charter_of(&contract),
        };
        let ack = match self.record_evaluation(&run, intent, 0).await {
            Ok((_, ack)) => ack,
            Err(miss) if miss.is_refusal() => Ack::Failed(miss.reason()),
            Err(miss) => return Err(miss.into_fault(&reasons::DECISION_UNAVAILABLE)),
        };
        match self.acknowledge(&run, &[(Act::RecordEvaluation, ack)]).await {
            Ok(()) => {}
            Err(Hitch::Later(why) | Hitch::Stuck(why)) => {
                return Err(Fault::new(
                    &reasons::RECORD_UNAVAILABLE,
                    "the judgement can't be acknowledged: repeat it",
                )
                .with("cause", why));
            }
        }
        let contract = self.contract(context, run_id, attempt).await?;
        self.judged(context, &contract, false).await
    }

    /// What the contract says of the judgement.
    async fn judged(
        &self,
        context: &Context,
        contract: &AuditContract,
        existing: bool,
    ) -> Outcome<CreatePolicyEvaluationResponse> {
        let ack = latest(contract, Act::RecordEvaluation.name()).cloned().unwrap_or_default();
        let evaluation = self.evaluation_of(context, contract, &ack).await?;
        let outcome = evaluation.outcome().as_str_name().trim_start_matches("EVALUATION_OUTCOME_").to_owned();
        let status = ack.status().as_str_name().trim_start_matches("ACK_STATUS_").to_owned();
        let told = !evaluation.evaluation_id.is_empty();
        Ok(CreatePolicyEvaluationResponse {
            outcome: if told { outcome } else { String::new() },
            evaluation_id: evaluation.evaluation_id,
            rules_checked: evaluation.rules_checked,
            ack: Some(PolicyAck { seq: ack.seq, status, duplicate: existing }),
            existing,
        })
    }

    /// The evaluation that an acknowledgement names.
    async fn evaluation_of(
        &self,
        context: &Context,
        contract: &AuditContract,
        ack: &AckView,
    ) -> Outcome<Evaluation> {
        if ack.status() != AckStatus::Success {
            return Ok(Evaluation::default());
        }
        let key = contract.key.clone().unwrap_or_default();
        let get = GetEvaluationRequest { run_id: key.subject_id, attempt: key.attempt };
        let found = self.bridges.policy_runs.evaluation(context, get).await;
        let found = found.map_err(|miss: Miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        let named = found.history.into_iter().find(|e| e.evaluation_id == ack.result_id);
        named.ok_or_else(|| {
            Fault::new(&reasons::DECISION_UNAVAILABLE, "the acknowledged evaluation is not there")
        })
    }
}
