//! Both deciders are asked whether a run may start.

use contracts_activity::v1::RunAttributes;
use contracts_common::common::v1::{Lease, Verdict};
use contracts_controls::v1::{AdmitRunRequest, SimulateAdmissionRequest};
use contracts_policies::v1::EvaluateRunRequest;
use contracts_spine::v1::RunCharter;
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::{Micros, new_id};

use super::StartDecision;
use crate::kernel::{
    Kernel,
    charter::attributes,
    combine::{Check, Finding, combine},
    freeze::Subject,
    state::Attempt,
    step_check, undecided,
};
use crate::reasons;

impl Kernel {
    /// Asks both deciders: the rules first, so that a run that a person has to approve takes nothing.
    pub(crate) async fn decide_start(
        &self,
        context: &Context,
        charter: &RunCharter,
        claim: bool,
    ) -> Outcome<StartDecision> {
        let now = self.now();
        let decision_id = new_id();
        let run = attributes(charter, &context.agent_id);
        let profile = Attempt::new(contracts_activity::v1::RunState {
            attributes: Some(run.clone()),
            ..contracts_activity::v1::RunState::default()
        })
        .profile();
        let evaluate = self.start_question(charter, &run, &decision_id, now);
        let evaluated = self.bridges.policies.evaluate_run(context, evaluate).await.map_err(|miss| {
            if miss.is_refusal() {
                crate::kernel::refuse::as_callers_fault(miss)
            } else {
                // No run starts without a snapshot to be judged by.
                miss.into_fault(&reasons::DECISION_UNAVAILABLE)
            }
        })?;
        // A run that waits holds nothing while it waits; what it needs is taken when it is claimed.
        let told = evaluated.decision.as_ref().map(contracts_policies::v1::Decision::effective_verdict);
        let takes = claim && !matches!(told, Some(Verdict::RequireApproval | Verdict::Defer));
        let limits = self.limits_of_start(context, charter, &decision_id, now, takes).await;
        let rules = step_check::policy_finding(&evaluated.decision.clone().unwrap_or_default());
        let subject = Subject {
            tenant: &context.tenant_id,
            project: &charter.project_id,
            agent: &charter.agent_id,
            api_key: &charter.credential_id,
            run: &charter.run_id,
        };
        let freeze = self.freeze_finding(subject, profile);
        let limits = limits.unwrap_or_else(|| step_check::controls_silent(profile));
        let findings = [freeze, limits, rules];
        undecided::count(&findings);
        let combined = combine(&findings, profile);
        let decision_id = evaluated.decision.as_ref().map_or(decision_id, |d| d.decision_id.clone());
        Ok(StartDecision { combined, evaluated, decision_id })
    }

    /// What policies is asked about a start.
    pub(super) fn start_question(
        &self,
        charter: &RunCharter,
        run: &RunAttributes,
        decision_id: &str,
        now: Micros,
    ) -> EvaluateRunRequest {
        EvaluateRunRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            ask: 0,
            decision_id: decision_id.to_owned(),
            agent: Some(step_check::agent_facts(run)),
            project: step_check::named(&run.project_id),
            api_key: step_check::named(&run.credential_id),
            human: step_check::human(charter),
            goal_digest: charter.goal_digest.clone(),
            declared_tools: charter.declared_tools.clone(),
            requested: charter.requested,
            run: Some(step_check::run_facts(run, 0, false)),
            parent_run_id: charter.parent_run_id.clone(),
            now: Some(timestamp(now)),
            profile: charter.profile,
            ..EvaluateRunRequest::default()
        }
    }

    /// A run that takes its lease now is admitted; one that waits for a worker is only asked about, so that it holds
    /// nothing while it waits.
    pub(super) async fn limits_of_start(
        &self,
        context: &Context,
        charter: &RunCharter,
        decision_id: &str,
        now: Micros,
        claim: bool,
    ) -> Option<Finding> {
        let scope = Some(step_check::scope(&attributes(charter, &context.agent_id), "", ""));
        let admission = if claim {
            let request = self.admit_run(charter, scope, decision_id, now);
            self.bridges.controls.admit_run(context, request).await.map(|a| a.admission)
        } else {
            let request = SimulateAdmissionRequest {
                scope,
                amounts: charter.requested,
                at: Some(timestamp(now)),
                profile: charter.profile,
            };
            self.bridges.settlements.simulate(context, request).await.map(|a| a.admission)
        };
        match admission {
            Ok(admission) => Some(step_check::limits_finding(&admission.unwrap_or_default())),
            Err(miss) => {
                tracing::warn!(check = Check::Limits.name(), ?miss, "a decider can't decide");
                None
            }
        }
    }

    pub(crate) fn admit_run(
        &self,
        charter: &RunCharter,
        scope: Option<contracts_controls::v1::ScopeTuple>,
        decision_id: &str,
        now: Micros,
    ) -> AdmitRunRequest {
        let ttl = i64::try_from(charter.lease_ttl_ms).unwrap_or(i64::MAX);
        AdmitRunRequest {
            run_id: charter.run_id.clone(),
            attempt: charter.attempt,
            ask: 0,
            decision_id: decision_id.to_owned(),
            scope,
            requested: charter.requested,
            lease: Some(Lease {
                fence: 1,
                holder: charter.credential_id.clone(),
                expires_at: Some(timestamp(now.plus_millis(ttl))),
            }),
            profile: charter.profile,
            now: Some(timestamp(now)),
        }
    }
}
