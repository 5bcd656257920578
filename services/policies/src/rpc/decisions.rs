//! DecisionService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::decision_service_server::DecisionService;
use prost::Message as _;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::words::{ActionTaken, EvaluationOutcome, Moment, Verdict};
use tonic::{Request, Response, Status};

use super::{Rpc, answer, export::row_json, page, parse, parse_step};
use crate::app::{Who, step::decoded};

#[tonic::async_trait]
impl DecisionService for Rpc {
    async fn evaluate_run(
        &self,
        request: Request<pb::EvaluateRunRequest>,
    ) -> Result<Response<pb::EvaluateRunResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse::ask_run(&who, &r) {
            Ok(ask) => self.app.evaluate_run(&who, &ask).await.and_then(decoded),
            Err(fault) => Err(fault),
        })
    }

    async fn evaluate_step(
        &self,
        request: Request<pb::EvaluateStepRequest>,
    ) -> Result<Response<pb::EvaluateStepResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(match parse_step::ask_step(&who, &r) {
            Ok(ask) => self.app.evaluate_step(&who, &ask).await.and_then(decoded),
            Err(fault) => Err(fault),
        })
    }

    async fn observe_steps(
        &self,
        request: Request<pb::ObserveStepsRequest>,
    ) -> Result<Response<pb::ObserveStepsResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.observed(&who, &r).await)
    }

    async fn record_evaluation(
        &self,
        request: Request<pb::RecordEvaluationRequest>,
    ) -> Result<Response<pb::RecordEvaluationResponse>, Status> {
        let (who, r) = self.open(request)?;
        let done = match parse_step::ask_end(&who, &r) {
            Ok(ask) => self.app.record_evaluation(&who, &ask).await,
            Err(fault) => Err(fault),
        };
        answer(done.map(|e| pb::RecordEvaluationResponse { evaluation: Some(e) }))
    }

    async fn supersede_evaluation(
        &self,
        request: Request<pb::SupersedeEvaluationRequest>,
    ) -> Result<Response<pb::SupersedeEvaluationResponse>, Status> {
        let (who, r) = self.open(request)?;
        let mut v = Violations::new();
        let length = r.reason.chars().count();
        v.require((1..=500).contains(&length), "reason", "OUT_OF_RANGE", "1 to 500 characters");
        v.require((1..=128).contains(&r.saga_id.len()), "saga_id", "OUT_OF_RANGE", "1 to 128 characters");
        answer(match v.into_result(&mesh::FIELD_INVALID) {
            Ok(()) => self.app.supersede(&who, r).await,
            Err(fault) => Err(fault),
        })
    }

    async fn get_decision(
        &self,
        request: Request<pb::GetDecisionRequest>,
    ) -> Result<Response<pb::GetDecisionResponse>, Status> {
        let (who, r) = self.open(request)?;
        let kept = self.app.decision(&who, &r.decision_id).await;
        answer(kept.map(|k| pb::GetDecisionResponse {
            decision: Some(k.decision),
            inputs: if r.include_inputs { k.inputs } else { bytes::Bytes::new() },
        }))
    }

    async fn list_decisions(
        &self,
        request: Request<pb::ListDecisionsRequest>,
    ) -> Result<Response<pb::ListDecisionsResponse>, Status> {
        let (who, mut r) = self.open(request)?;
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let mut v = Violations::new();
        parse::known(&mut v, "verdicts", &r.verdicts, Verdict::from_code);
        parse::known(&mut v, "moments", &r.moments, Moment::from_code);
        answer(match page::filtered(v, "decisions", &r.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.decisions(&who, &r, asked.page()).await.map(|rows| {
                let rows = rows.into_iter().map(|k| (k.id, k.decision)).collect();
                let (decisions, next_page_token) = asked.cut(rows);
                pb::ListDecisionsResponse { decisions, next_page_token }
            }),
        })
    }

    async fn explain_decision(
        &self,
        request: Request<pb::ExplainDecisionRequest>,
    ) -> Result<Response<pb::ExplainDecisionResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.app.explain(&who, &r).await)
    }

    async fn export_decisions(
        &self,
        request: Request<pb::ExportDecisionsRequest>,
    ) -> Result<Response<pb::ExportDecisionsResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.exported(&who, &r).await)
    }

    async fn get_evaluation(
        &self,
        request: Request<pb::GetEvaluationRequest>,
    ) -> Result<Response<pb::GetEvaluationResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.app.evaluation(&who, &r.run_id, r.attempt).await)
    }

    async fn list_evaluations(
        &self,
        request: Request<pb::ListEvaluationsRequest>,
    ) -> Result<Response<pb::ListEvaluationsResponse>, Status> {
        let (who, mut r) = self.open(request)?;
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let mut v = Violations::new();
        parse::known(&mut v, "outcomes", &r.outcomes, EvaluationOutcome::from_code);
        answer(match page::filtered(v, "evaluations", &r.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.evaluations(&who, &r, asked.page()).await.map(|rows| {
                let (evaluations, next_page_token) = asked.cut(rows);
                pb::ListEvaluationsResponse { evaluations, next_page_token }
            }),
        })
    }

    async fn list_enforcements(
        &self,
        request: Request<pb::ListEnforcementsRequest>,
    ) -> Result<Response<pb::ListEnforcementsResponse>, Status> {
        let (who, mut r) = self.open(request)?;
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let mut v = Violations::new();
        parse::known(&mut v, "actions", &r.actions, ActionTaken::from_code);
        answer(match page::filtered(v, "enforcements", &r.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.enforcements(&who, &r, asked.page()).await.map(|rows| {
                let (enforcements, next_page_token) = asked.cut(rows);
                pb::ListEnforcementsResponse { enforcements, next_page_token }
            }),
        })
    }

    async fn get_run_policy_evidence(
        &self,
        request: Request<pb::GetRunPolicyEvidenceRequest>,
    ) -> Result<Response<pb::GetRunPolicyEvidenceResponse>, Status> {
        let (who, r) = self.open(request)?;
        answer(self.app.evidence(&who, &r.run_id, r.attempt).await)
    }
}

impl Rpc {
    async fn observed(
        &self,
        who: &Who,
        r: &pb::ObserveStepsRequest,
    ) -> Result<pb::ObserveStepsResponse, Fault> {
        parse::request_id(&r.request_id)?;
        let mut v = Violations::new();
        let attempt = parse::attempt(&mut v, &r.run_id, r.attempt);
        let told = parse_step::told(&mut v, r.from_seq, &r.observed)?;
        let run = parse::run(&mut v, &attempt, r.run.as_ref());
        let profile = parse::profile(&mut v, r.profile, who);
        v.into_result(&mesh::FIELD_INVALID)?;
        self.app.observe_steps(who, r, told, run, profile).await
    }

    async fn exported(
        &self,
        who: &Who,
        r: &pb::ExportDecisionsRequest,
    ) -> Result<pb::ExportDecisionsResponse, Fault> {
        let filter = format!("{}/{}", r.run_id, r.attempt);
        let asked = page::asked("export", filter.as_bytes(), r.page_size, &r.page_token)?;
        let (after, limit) = asked.after();
        let rows = self.app.export(who, &r.run_id, r.attempt, after, limit).await?;
        let rows = rows.into_iter().map(|k| {
            let exported = pb::ExportedDecision {
                decision_id: k.decision.decision_id.clone(),
                row_json: row_json(&k.decision),
                inputs_bytes: k.inputs,
                inputs_digest: k.inputs_digest.to_vec().into(),
            };
            (k.id, exported)
        });
        let (decisions, next_page_token) = asked.cut(rows.collect());
        Ok(pb::ExportDecisionsResponse { decisions, next_page_token })
    }
}
