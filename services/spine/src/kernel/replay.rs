//! Gives the first answer to a question again.

use contracts_common::common::v1::{Directive, Verdict};
use contracts_logs::v1::{GetReceiptRequest, Receipt as LogsReceipt};
use contracts_spine::v1::{AuthorizeStepRequest, AuthorizeStepResponse, KeptDecision, Receipt};
use prost::Message;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;
use runspine_types::Digest;

use super::{
    Kernel,
    combine::{Check, Finding},
    sessions::Slot,
};
use crate::reasons;

/// Key of a decision on its trace.
#[must_use]
pub(crate) fn decision_key(step_index: u32, ask: u32) -> String {
    format!("d/{step_index}/{ask}")
}

/// A receipt as the agent gets it.
#[must_use]
pub(crate) fn receipt(of: &LogsReceipt) -> Receipt {
    Receipt { trace_id: of.trace_id.clone(), position: of.position, link: of.link.clone() }
}

/// Turns an answer into the denial that a freeze made of it between its record and its leaving.
pub(crate) fn freeze_over(answer: &mut AuthorizeStepResponse, directive: Directive) {
    let finding = Finding::deny(Check::Freeze, directive, "FROZEN", "a freeze came before the answer left");
    if let Some(decision) = &mut answer.decision {
        decision.verdict = Verdict::Deny.into();
        decision.effective_verdict = Verdict::Deny.into();
        decision.directive = directive.into();
        decision.reasons = finding.reasons;
        decision.obligations.clear();
        decision.would_block = None;
    }
    answer.hold_id.clear();
    answer.not_after = None;
}

impl Kernel {
    /// The first answer to `ask`, byte for byte; another question under the same key is refused.
    pub(crate) async fn repeat_decision(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        digest: Digest,
        slot: &Slot,
    ) -> Outcome<AuthorizeStepResponse> {
        let index = ask.step_index.unwrap_or(0);
        let request = GetReceiptRequest {
            run_id: ask.run_id.clone(),
            attempt: ask.attempt,
            idempotency_key: decision_key(index, ask.ask),
        };
        let kept = self.bridges.records.receipt(context, request).await;
        let kept = kept.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        if kept.request_digest != digest.as_bytes() {
            let text = "this step was asked about with another body";
            return Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, text).with("step_index", index));
        }
        let stored = kept.receipt.unwrap_or_default();
        let decision = KeptDecision::decode(stored.answer.clone())
            .map_err(|e| Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(e))?;
        let mut answer = decision.answer.unwrap_or_default();
        let permitted = answer
            .decision
            .as_ref()
            .is_some_and(|d| matches!(d.effective_verdict(), Verdict::Allow | Verdict::Modify));
        let known = slot.session.as_ref().and_then(|s| s.step(index));
        if permitted && known.is_some_and(|s| s.ask == ask.ask && !s.permitted) {
            freeze_over(&mut answer, self.revoking_directive(context, ask, index).await?);
        }
        answer.receipt = Some(receipt(&stored));
        Ok(answer)
    }

    /// The directive that went with the revocation, as its record says.
    async fn revoking_directive(
        &self,
        context: &Context,
        ask: &AuthorizeStepRequest,
        index: u32,
    ) -> Outcome<Directive> {
        let request = GetReceiptRequest {
            run_id: ask.run_id.clone(),
            attempt: ask.attempt,
            idempotency_key: revocation_key(index, ask.ask),
        };
        let kept = self.bridges.records.receipt(context, request).await;
        let kept = kept.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?;
        let said = kept.record.and_then(|r| r.body);
        Ok(match said {
            Some(contracts_logs::v1::trace_record::Body::Control(control))
                if control.authority == "PAUSE" =>
            {
                Directive::Pause
            }
            _ => Directive::Terminate,
        })
    }
}

/// Key of the record that revokes a decision.
#[must_use]
pub(crate) fn revocation_key(step_index: u32, ask: u32) -> String {
    format!("f/{step_index}/{ask}")
}
