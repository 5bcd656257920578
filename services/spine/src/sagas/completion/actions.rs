//! The three actions with an undo, and the creation of a run whose start was abandoned.

use contracts_activity::v1::CreateRunRequest;
use contracts_common::common::v1::{AckStatus, RunStatus};
use contracts_controls::v1::SettleRunRequest;
use contracts_incidents::v1::{Disposition, ReportRunOutcomeRequest};
use contracts_logs::v1::{AckSpec, AcknowledgeRequest, StartTraceRequest};
use contracts_policies::v1::{
    CancelApprovalsRequest, ObserveStepsRequest, RecordEvaluationRequest, StepFact,
};
use contracts_spine::v1::CompletionIntent;
use prost::Message;
use runspine_rpc::timestamp;
use runspine_types::{Hasher, derived_id, new_id};

use super::{
    drive::{Hitch, Run, system},
    plan::{Ack, Act, Progress},
};
use crate::{
    bridges::{Called, Miss},
    kernel::{FACTS, Kernel, attributes, expected_seq, session::Session, step_check},
};

/// What one action came to.
type Acted = Called<(Act, Ack)>;

impl Kernel {
    /// Does the open actions at the same time and acknowledges each that was answered.
    pub(super) async fn act(
        &self,
        run: &Run<'_>,
        intent: &CompletionIntent,
        acts: &[Act],
        progress: &mut Progress,
    ) -> Result<(), Hitch> {
        let wanted = |act| acts.contains(&act);
        let (reported, judged, settled) = tokio::join!(
            maybe(wanted(Act::ReportOutcome), self.report_outcome(run, intent)),
            maybe(wanted(Act::RecordEvaluation), self.record_evaluation(run, intent, 0)),
            maybe(wanted(Act::SettleBudget), self.settle_run(run, intent)),
        );
        let mut acks = Vec::new();
        let mut outage = None;
        for (act, answer) in
            [(Act::ReportOutcome, reported), (Act::RecordEvaluation, judged), (Act::SettleBudget, settled)]
        {
            let ack = match answer {
                None => continue,
                Some(Ok((_, ack))) => ack,
                Some(Err(miss)) if miss.is_refusal() => Ack::Failed(miss.reason()),
                Some(Err(miss)) => {
                    if miss.is_misconfigured() {
                        tracing::error!(
                            ?act,
                            ?miss,
                            alert = "MESH_MISCONFIGURED",
                            "a domain does not let the spine in"
                        );
                    }
                    outage = Some(format!("{act:?}: {miss:?}"));
                    continue;
                }
            };
            acks.push((act, ack));
        }
        self.acknowledge(run, &acks).await?;
        for (act, ack) in acks {
            progress.set(act, ack);
        }
        outage.map_or(Ok(()), |why| Err(Hitch::Later(why)))
    }

    /// An action is not done before its acknowledgement is durable.
    pub(super) async fn acknowledge(&self, run: &Run<'_>, acks: &[(Act, Ack)]) -> Result<(), Hitch> {
        if acks.is_empty() {
            return Ok(());
        }
        let acks = acks.iter().map(|(act, ack)| self.ack_spec(run, *act, ack)).collect();
        let request = AcknowledgeRequest { key: Some(run.key()), acks, fence: run.fence };
        let stored = self.bridges.contracts.acknowledge(run.context, request).await;
        stored.map(|_| ()).map_err(|miss| Hitch::forward(&miss))
    }

    fn ack_spec(&self, run: &Run<'_>, act: Act, ack: &Ack) -> AckSpec {
        let (domain, action) = act.name();
        let (status, result_id, error_reason) = match ack {
            Ack::Done(id) => (AckStatus::Success, id.clone(), String::new()),
            Ack::NotApplicable(id) => (AckStatus::NotApplicable, id.clone(), String::new()),
            Ack::Failed(reason) => (AckStatus::Failed, String::new(), reason.clone()),
            Ack::RolledBack(id) => (AckStatus::RolledBack, id.clone(), "COMPENSATED".to_owned()),
            Ack::Open => (AckStatus::Unspecified, String::new(), String::new()),
        };
        let name = status.as_str_name().trim_start_matches("ACK_STATUS_");
        AckSpec {
            domain: domain.to_owned(),
            action: action.to_owned(),
            status: status.into(),
            result_id,
            error_reason,
            idempotency_key: format!("{}/{}/{domain}/{action}/{name}", run.run_id, run.attempt),
            observed_at: Some(timestamp(self.now())),
        }
    }

    async fn report_outcome(&self, run: &Run<'_>, intent: &CompletionIntent) -> Acted {
        let charter = run.charter.clone().unwrap_or_default();
        let request = ReportRunOutcomeRequest {
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            status: intent.status,
            termination_reason: intent.reason,
            error_code: intent.error_code.clone(),
            error_message: intent.error_message.clone(),
            agent_id: charter.agent_id,
            project_id: charter.project_id,
            step_index: intent.stopped_at_step,
            tool_name: String::new(),
            usage: intent.usage,
            occurred_at: intent.at,
            suppression: None,
            synthetic: charter.is_synthetic,
            synthetic_scenario_id: charter.synthetic_scenario_id,
            violation_policy_id: intent.violation_policy_id.clone(),
        };
        let answer = self.bridges.incidents.report_outcome(run.context, request).await?;
        let ack = match answer.disposition() {
            Disposition::NotApplicable => Ack::NotApplicable(String::new()),
            Disposition::Suppressed => Ack::NotApplicable(answer.prevention_id),
            _ => Ack::Done(answer.incident_id),
        };
        Ok((Act::ReportOutcome, ack))
    }

    pub(super) async fn record_evaluation(
        &self,
        run: &Run<'_>,
        intent: &CompletionIntent,
        revision: u32,
    ) -> Acted {
        self.cancel_approvals(run).await?;
        let slot = self.sessions.slot(&run.context.tenant_id, run.run_id, run.attempt);
        let mut slot = slot.lock().await;
        let loaded = self.load(run.context, run.run_id, run.attempt, &mut slot).await;
        loaded.map_err(|fault| Miss::new(runspine_rpc::status(fault)))?;
        let from = slot.session.as_ref().map_or(0, Session::facts_from);
        let asked = (revision, slot.session.as_ref().is_some_and(|s| s.degraded));
        let pending: Vec<StepFact> = slot.facts.iter().filter(|f| f.seq >= from).cloned().collect();
        let answer = match self.ask_evaluation(run, intent, asked, pending, from).await {
            Err(miss) if miss.is("HISTORY_GAP") => {
                let expected = expected_seq(&miss);
                slot.forget();
                let loaded = self.load(run.context, run.run_id, run.attempt, &mut slot).await;
                loaded.map_err(|fault| Miss::new(runspine_rpc::status(fault)))?;
                let missing: Vec<StepFact> =
                    slot.facts.iter().filter(|f| f.seq >= expected).cloned().collect();
                self.ask_evaluation(run, intent, asked, missing, expected).await
            }
            other => other,
        };
        let evaluation = answer?.evaluation.unwrap_or_default();
        Ok((Act::RecordEvaluation, Ack::Done(evaluation.evaluation_id)))
    }

    /// Nobody is asked any more about a run that ends. Keyed by the attempt, so that a repeat changes nothing.
    async fn cancel_approvals(&self, run: &Run<'_>) -> Result<(), Miss> {
        let key = Hasher::new("runspine.cancelapprovals.v1")
            .sized(run.run_id.as_bytes())
            .fixed(&run.attempt.to_be_bytes())
            .finish();
        let request = CancelApprovalsRequest {
            request_id: derived_id(key),
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            reason: "the run ends".to_owned(),
        };
        self.bridges.approvals.cancel(run.context, request).await.map(|_| ())
    }

    async fn ask_evaluation(
        &self,
        run: &Run<'_>,
        intent: &CompletionIntent,
        (revision, degraded): (u32, bool),
        mut facts: Vec<StepFact>,
        mut from_seq: u64,
    ) -> Called<contracts_policies::v1::RecordEvaluationResponse> {
        let charter = run.charter.clone().unwrap_or_default();
        let running_ms = intent.usage.map_or(0, |u| u.duration_ms);
        let run_facts = step_check::run_facts(&attributes(&charter, ""), running_ms, degraded);
        let now = Some(timestamp(self.now()));
        while facts.len() > FACTS {
            let rest = facts.split_off(FACTS);
            let observe = ObserveStepsRequest {
                request_id: new_id(),
                run_id: run.run_id.to_owned(),
                attempt: run.attempt,
                from_seq,
                observed: facts,
                run: Some(run_facts.clone()),
                now,
                profile: charter.profile,
            };
            from_seq = self.bridges.policies.observe(run.context, observe).await?.next_seq;
            facts = rest;
        }
        let request = RecordEvaluationRequest {
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            revision,
            run_outcome: intent.status,
            termination_reason: intent.reason,
            totals: intent.usage,
            from_seq,
            observed: facts,
            run: Some(run_facts),
            now,
            profile: charter.profile,
        };
        self.bridges.policies.record_evaluation(run.context, request).await
    }

    async fn settle_run(&self, run: &Run<'_>, intent: &CompletionIntent) -> Acted {
        let request = SettleRunRequest {
            run_id: run.run_id.to_owned(),
            attempt: run.attempt,
            outcome: intent.reason,
            totals: intent.usage,
        };
        match self.bridges.settlements.settle_run(run.context, request).await {
            Ok(answer) => {
                let settlement = answer.settlement.unwrap_or_default();
                let ack = if settlement.nothing_held {
                    Ack::NotApplicable(String::new())
                } else {
                    Ack::Done(settlement.settlement_id)
                };
                Ok((Act::SettleBudget, ack))
            }
            // A run that controls never admitted holds nothing.
            Err(miss) if miss.is_not_found() => Ok((Act::SettleBudget, Ack::NotApplicable(String::new()))),
            Err(miss) => Err(miss),
        }
    }

    /// A start that stopped before the run existed: the run is created so that it can end like any other.
    pub(super) async fn create_abandoned(&self, run: &Run<'_>) -> Result<(), Hitch> {
        let Some(charter) = run.charter.clone() else {
            return Err(Hitch::Stuck("the contract of an abandoned start holds no charter".to_owned()));
        };
        let trace = StartTraceRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            agent_id: charter.agent_id.clone(),
            profile: charter.profile,
            governance_config_version: charter.config_version.clone(),
            governance_config_digest: charter.config_digest.clone(),
            seed: Some(charter.seed),
            source: charter.source,
            parent_run_id: charter.parent_run_id.clone(),
            synthetic_scenario_id: charter.synthetic_scenario_id.clone(),
            project_id: charter.project_id.clone(),
            ..StartTraceRequest::default()
        };
        match self.bridges.traces.start(run.context, trace).await {
            Ok(_) => {}
            // The abandoned start came as far as its trace, with the snapshot that it had bound.
            Err(miss) if miss.is("IDEMPOTENCY_MISMATCH") => {}
            Err(miss) => return Err(Hitch::forward(&miss)),
        }
        let request = CreateRunRequest {
            run_id: charter.run_id.clone(),
            attributes: Some(attributes(&charter, "")),
            status: RunStatus::Queued.into(),
            actor: Some(system()),
            start_input: charter.encode_to_vec().into(),
            reason: crate::kernel::termination::code::START_ABANDONED.to_owned(),
            ..CreateRunRequest::default()
        };
        match self.bridges.runs.create_run(run.context, request).await {
            Ok(_) => Ok(()),
            Err(miss) if miss.is("RUN_EXISTS") || miss.is("IDEMPOTENCY_MISMATCH") => {
                Err(Hitch::Later("the run was created in the meantime".to_owned()))
            }
            Err(miss) => Err(Hitch::forward(&miss)),
        }
    }
}

async fn maybe(wanted: bool, action: impl Future<Output = Acted>) -> Option<Acted> {
    if wanted { Some(action.await) } else { None }
}
