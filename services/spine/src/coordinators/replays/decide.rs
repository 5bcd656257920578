//! What the rules say of a step that is done again: mode OBSERVE asks those of the recorded run, about what is done now,
//! for whom and at the time that it was recorded.

use contracts_logs::v1 as logs;
use contracts_policies::v1::{self as policies, Candidate, DryRunInstead, DryRunRequest, dry_run_request};
use contracts_spine::v1::AuthorizeStepRequest;
use runspine_rpc::{Context, status};
use tonic::Status;

use super::{Replays, refused};
use crate::kernel::{as_callers_fault, combine::combine, rule_ids, step_check};

impl Replays {
    /// The decisions on a step, one for each that was recorded. A decision whose inputs are not kept can't be made again:
    /// then there is nothing to compare.
    pub(super) async fn decided(
        &self,
        context: &Context,
        recorded: &logs::ReplayPlanStep,
        done: &AuthorizeStepRequest,
    ) -> Result<Vec<logs::ReplayDecision>, Status> {
        let mut decisions = Vec::with_capacity(recorded.decisions.len());
        for made in &recorded.decisions {
            let ask = DryRunRequest {
                candidate: Some(Candidate {
                    base_digest: made.policy_snapshot_digest.clone(),
                    changes: Vec::new(),
                }),
                subject: Some(subject(made, recorded, done)),
                profile: 0,
            };
            let answer = match self.kernel.bridges.sandbox.dry_run(context, ask).await {
                Ok(answer) => answer,
                Err(miss) if miss.is_invalid() => return Err(status(as_callers_fault(miss))),
                Err(miss) if miss.is_refusal() => {
                    tracing::debug!(reason = miss.reason(), "a recorded decision can't be made again");
                    return Ok(Vec::new());
                }
                Err(miss) => return Err(refused(miss)),
            };
            decisions.extend(answer.decision.as_ref().map(as_recorded));
        }
        Ok(decisions)
    }
}

/// The recorded question where nothing says that another thing was done, else that other thing.
fn subject(
    made: &logs::RecordedDecision,
    recorded: &logs::ReplayPlanStep,
    done: &AuthorizeStepRequest,
) -> dry_run_request::Subject {
    let plain =
        AuthorizeStepRequest { kind: recorded.kind, name: recorded.name.clone(), ..Default::default() };
    let decision_id = made.decision_id.clone();
    if *done == plain {
        return dry_run_request::Subject::DecisionId(decision_id);
    }
    let step = Some(step_check::what_is_done(done));
    dry_run_request::Subject::Instead(DryRunInstead { decision_id, step })
}

/// A decision as the trace would have it, when nobody but the rules has anything to say.
fn as_recorded(decision: &policies::Decision) -> logs::ReplayDecision {
    let combined = combine(&[step_check::policy_finding(decision)], decision.profile());
    logs::ReplayDecision {
        verdict: combined.effective_verdict.into(),
        directive: combined.directive.into(),
        rule_ids: rule_ids(&combined),
    }
}
