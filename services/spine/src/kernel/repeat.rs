//! A report that is told again gets its first answer, wherever the run stands by now.

use contracts_logs::v1::GetReceiptRequest;
use contracts_spine::v1::{KeptStep, RecordStepRequest, RecordStepResponse};
use prost::Message;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::Context;

use super::{
    Kernel,
    report::{Standing, report_digest, step_key},
    sessions::Slot,
    state::Attempt,
};
use crate::reasons;

impl Kernel {
    /// The first answer to this report; `None` when it was not reported, or something else was under its key, which the
    /// trace then refuses.
    pub(super) async fn repeat_record(
        &self,
        context: &Context,
        report: &RecordStepRequest,
        attempt: &Attempt,
        slot: &Slot,
    ) -> Outcome<Option<RecordStepResponse>> {
        let step = slot.session.as_ref().and_then(|s| s.step(report.step_index));
        // A report that nobody has made yet asks nobody.
        if step.and_then(|s| s.last_try).is_none_or(|last| report.retry_count > last.retry_count) {
            return Ok(None);
        }
        let request = GetReceiptRequest {
            run_id: report.run_id.clone(),
            attempt: report.attempt,
            idempotency_key: step_key(report),
        };
        let kept = match self.bridges.records.receipt(context, request).await {
            Ok(kept) => kept,
            Err(miss) if miss.is_not_found() => return Ok(None),
            Err(miss) => return Err(miss.into_fault(&reasons::DECISION_UNAVAILABLE)),
        };
        if kept.request_digest != report_digest(report).as_bytes() {
            return Ok(None);
        }
        let stored = kept.receipt.unwrap_or_default();
        let first = KeptStep::decode(stored.answer.clone())
            .map_err(|e| Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(e))?;
        let standing = Standing {
            step: step.cloned().map(|step| super::session::Step { hold_id: first.hold_id.clone(), ..step }),
            unauthorized: first.unauthorized,
            despite_denial: false,
            late: first.late,
            gap: first.gap,
            halted: first.halted(),
        };
        // What was booked is booked once: controls keeps its first answer by the hold.
        let settled = self.settle(context, report, &standing, None).await;
        Ok(Some(self.recorded_answer(report, attempt, &standing, &stored, settled)))
    }
}
