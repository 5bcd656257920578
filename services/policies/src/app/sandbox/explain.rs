//! ExplainDecision: a recorded decision, rule by rule.

use contracts_policies::v1 as pb;
use runspine_errors::Fault;
use runspine_policies_domain::{
    evaluate::evaluate,
    reasons,
    sandbox::explain::{Explained, explain},
    slice::resource_of,
};
use runspine_types::Digest;

use super::{dry_run::inputs_of, replay::recorded};
use crate::{
    app::{App, Who, cache::LoadError},
    present,
};

impl App {
    /// Puts the recorded inputs to each rule again, under the snapshot of the decision.
    pub(crate) async fn explain(
        &self,
        who: &Who,
        request: &pb::ExplainDecisionRequest,
    ) -> Result<pb::ExplainDecisionResponse, Fault> {
        let kept = self.decision(who, &request.decision_id).await?;
        let inputs = inputs_of(&recorded(&kept.decision, kept.inputs_digest)?, &kept.inputs)?;
        let digest = Digest::from_slice(&kept.decision.snapshot_digest)
            .ok_or_else(|| Fault::new(&reasons::SNAPSHOT_NOT_FOUND, "the decision names no snapshot"))?;
        let snapshot = self.cache.snapshot(&self.db, &who.tenant, digest).await;
        let snapshot = snapshot.map_err(LoadError::into_fault)?;
        let about = resource_of(&inputs.question, &inputs.run, &inputs.principal);
        let unfit = |e: runspine_policies_domain::entities::FactsError| {
            Fault::new(&reasons::NOT_REPLAYABLE, e.to_string()).with("why", "SCHEMA_INCOMPATIBLE")
        };
        let slice = snapshot.slice(inputs.question.action(), &inputs.principal, &about).map_err(unfit)?;
        let said = evaluate(&slice, &inputs).map_err(unfit)?;
        let mut rules = explain(&slice, &said, &inputs);
        let other_rules = u32::try_from(snapshot.rules.len() - rules.len()).unwrap_or(u32::MAX);
        if !request.rule_id.is_empty() {
            let named = |id: &str| id == request.rule_id;
            rules.retain(|e| named(&e.rule.meaning.rule_id));
            if rules.is_empty() {
                let rule = snapshot.rules.iter().find(|r| named(&r.meaning.rule_id));
                let rule = rule.ok_or_else(crate::app::rules::not_found)?;
                rules.push(Explained::no_candidate(rule, inputs.now));
            }
        }
        Ok(pb::ExplainDecisionResponse {
            decision: Some(kept.decision),
            rules: rules.iter().map(present::explanation).collect(),
            other_rules,
        })
    }
}
