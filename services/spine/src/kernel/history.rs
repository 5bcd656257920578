//! Tells policies what happened at finished steps, along with the next question.

use contracts_policies::v1::{EvaluateStepRequest, EvaluateStepResponse, ObserveStepsRequest, StepFact};
use contracts_spine::v1::AuthorizeStepRequest;
use runspine_rpc::Context;
use runspine_types::new_id;

use super::{Kernel, session::Session, sessions::Slot};
use crate::bridges::{Called, Miss};

/// Facts that one call takes.
pub(crate) const FACTS: usize = 256;

impl Kernel {
    /// Asks policies with the facts that it has not learned. When it is further behind than this replica knew, the
    /// trace is read and the question put again under the same key.
    pub(crate) async fn evaluate_with_history(
        &self,
        context: &Context,
        mut request: EvaluateStepRequest,
        ask: &AuthorizeStepRequest,
        slot: &mut Slot,
    ) -> Called<EvaluateStepResponse> {
        let from = slot.session.as_ref().map_or(0, Session::facts_from);
        request.withdrawn = slot.session.as_ref().map(Session::refused).unwrap_or_default();
        let pending: Vec<StepFact> = slot.facts.iter().filter(|f| f.seq >= from).cloned().collect();
        let first = self.ask_policies(context, &mut request, pending, from).await;
        let answer = match first {
            Err(miss) if miss.is("HISTORY_GAP") => {
                let expected = expected_seq(&miss);
                slot.forget();
                let reloaded = self.load(context, &ask.run_id, ask.attempt, slot).await;
                reloaded.map_err(|fault| Miss::new(runspine_rpc::status(fault)))?;
                request.withdrawn = slot.session.as_ref().map(Session::refused).unwrap_or_default();
                let missing: Vec<StepFact> =
                    slot.facts.iter().filter(|f| f.seq >= expected).cloned().collect();
                self.ask_policies(context, &mut request, missing, expected).await?
            }
            other => other?,
        };
        slot.learned(answer.next_seq);
        Ok(answer)
    }

    async fn ask_policies(
        &self,
        context: &Context,
        request: &mut EvaluateStepRequest,
        mut facts: Vec<StepFact>,
        mut from_seq: u64,
    ) -> Called<EvaluateStepResponse> {
        while facts.len() > FACTS {
            let rest = facts.split_off(FACTS);
            let observe = ObserveStepsRequest {
                request_id: new_id(),
                run_id: request.run_id.clone(),
                attempt: request.attempt,
                from_seq,
                observed: facts,
                run: request.run.clone(),
                now: request.now,
                profile: request.profile,
            };
            from_seq = self.bridges.policies.observe(context, observe).await?.next_seq;
            facts = rest;
        }
        request.from_seq = from_seq;
        request.observed = facts;
        self.bridges.policies.evaluate_step(context, request.clone()).await
    }
}

/// The sequence number that policies wants next.
pub(crate) fn expected_seq(miss: &Miss) -> u64 {
    miss.details().metadata.get("expected_seq").and_then(|n| n.parse().ok()).unwrap_or(1)
}
