//! Refusals of a step call as errors: nothing was decided, and what matters to an auditor is on the ledger.

use contracts_spine::v1::{AuthorizeStepRequest, RecordStepRequest};
use runspine_errors::{Fault, mesh};
use runspine_rpc::Context;

use super::{Kernel, LedgerNote};
use crate::bridges::Miss;

/// A decider's refusal of the caller's own facts, as the caller's fault with the decider's words.
pub(crate) fn as_callers_fault(miss: Miss) -> Fault {
    let details = miss.details();
    let status = miss.into_status();
    let mut fault = match status.code() {
        tonic::Code::AlreadyExists => Fault::new(&mesh::IDEMPOTENCY_MISMATCH, status.message()),
        _ => Fault::new(&mesh::FIELD_INVALID, status.message()),
    };
    fault = fault.with("cause", &details.reason).with("cause_domain", &details.domain);
    for (field, what) in details.fields {
        fault = fault.field(field, "FIELD_INVALID", what);
    }
    fault
}

impl Kernel {
    /// Puts on the ledger that a question was refused.
    pub(crate) async fn tell_refused_step(&self, context: &Context, ask: &AuthorizeStepRequest, why: &str) {
        let key = format!("authorize/{}/{}/{why}", ask.step_index.unwrap_or(0), ask.ask);
        self.tell_refusal(context, "spine.StepRefused", &ask.run_id, ask.attempt, ask.step_index, &key, why)
            .await;
    }

    /// Puts on the ledger that a report was refused, or should never have come.
    pub(crate) async fn tell_report(
        &self,
        context: &Context,
        event: &str,
        report: &RecordStepRequest,
        why: &str,
    ) {
        let key = format!("record/{}/{}/{why}", report.step_index, report.retry_count);
        let index = Some(report.step_index);
        self.tell_refusal(context, event, &report.run_id, report.attempt, index, &key, why).await;
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one ledger note")]
    async fn tell_refusal(
        &self,
        context: &Context,
        event: &str,
        run_id: &str,
        attempt: u32,
        step_index: Option<u32>,
        key: &str,
        reason: &str,
    ) {
        let said = LedgerNote { event, run_id, attempt, step_index, key, reason, after_digest: Vec::new() };
        // The refusal stands whether or not the ledger can be reached; the door's dispatch record has it too.
        if let Err(fault) = self.tell_ledger(context, &said).await {
            tracing::error!(event, run_id, %fault, "a refusal is not on the ledger");
        }
    }
}
