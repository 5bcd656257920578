//! Reads and writes the trace of an attempt, and folds its records into a session.

use contracts_common::common::v1::{Amounts, StepOutcome, Verdict};
use contracts_logs::v1::{
    AppendRecordsRequest, ControlAction, ListRecordsRequest, Receipt, RecordItem, StoredRecord, record_item,
    trace_record,
};
use contracts_spine::v1::{KeptDecision, KeptStep};
use prost::Message;
use runspine_errors::{Fault, Outcome};
use runspine_rpc::Context;

use super::{
    Kernel,
    session::{Calls, Session, Step, Try, Used},
    sessions::Slot,
    step_check,
};
use crate::reasons;

/// Records that one read brings.
const PAGE: i32 = 1_000;

impl Kernel {
    /// Makes sure that the slot knows its session.
    pub(crate) async fn load(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        slot: &mut Slot,
    ) -> Outcome<()> {
        if slot.session.is_some() {
            return Ok(());
        }
        let mut session = Session::default();
        let mut facts = Vec::new();
        loop {
            let request = ListRecordsRequest {
                run_id: run_id.to_owned(),
                attempt,
                after_position: session.head,
                page_size: PAGE,
                include_answers: true,
                ..ListRecordsRequest::default()
            };
            let page = self.bridges.records.records(context, request).await;
            let page = page.map_err(|miss| miss.into_fault(&reasons::DECISION_UNAVAILABLE))?.records;
            let last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for stored in page {
                fold(&mut session, &stored);
                facts.extend(step_check::fact(&session, &stored));
            }
            if last {
                break;
            }
        }
        // Policies says so when it is behind; then all facts are still at hand.
        session.facts_told = session.facts;
        slot.session = Some(session);
        slot.facts = facts;
        Ok(())
    }

    /// Appends one record. It is durable when this returns.
    pub(crate) async fn append(
        &self,
        context: &Context,
        run_id: &str,
        attempt: u32,
        mut item: RecordItem,
    ) -> Result<Receipt, crate::bridges::Miss> {
        item.actor = Some(super::ledger::actor(context));
        item.correlation_id.clone_from(&context.correlation_id);
        let request = AppendRecordsRequest { run_id: run_id.to_owned(), attempt, items: vec![item] };
        let answer = self.bridges.traces.append(context, request).await?;
        let missing = || crate::bridges::Miss::new(tonic::Status::internal("logs gave no receipt"));
        answer.receipts.into_iter().next().ok_or_else(missing)
    }
}

/// A record of something that changes no step.
#[must_use]
pub fn control_item(
    key: String,
    step_index: Option<u32>,
    action: ControlAction,
    reason: &str,
    reference: &str,
) -> RecordItem {
    RecordItem {
        idempotency_key: key,
        step_index,
        body: Some(record_item::Body::Control(contracts_logs::v1::Control {
            action: action.into(),
            reason: reason.to_owned(),
            authority: String::new(),
            reference_id: reference.to_owned(),
        })),
        ..RecordItem::default()
    }
}

/// What a trace that can't take a record means to the caller.
pub(crate) fn not_recorded(miss: crate::bridges::Miss) -> Fault {
    match miss.reason().as_str() {
        "IDEMPOTENCY_MISMATCH" => {
            Fault::new(&runspine_errors::mesh::IDEMPOTENCY_MISMATCH, "the key was used with another body")
        }
        "TRACE_SEALED" | "TRACE_NOT_FOUND" => {
            Fault::new(&reasons::RUN_ENDED, "the trace takes no more records")
        }
        "STEP_GAP" | "RETRY_GAP" => {
            Fault::new(&reasons::STEP_GAP, "a step or try before this one is missing")
        }
        "STEP_FINAL" | "STEP_AMBIGUOUS" => Fault::new(
            &reasons::STEP_FINAL,
            "the last try of this step is final, or its outcome is not known",
        ),
        "STEP_CONFLICT" | "HEAD_MOVED" => {
            Fault::new(&reasons::SEQUENCE_MOVED, "somebody else recorded this step; read the run again")
        }
        "DECISION_UNKNOWN" => {
            Fault::new(&reasons::STEP_NOT_AUTHORIZED, "the decision is not on the trace of this attempt")
        }
        _ => miss.into_fault(&reasons::RECORD_UNAVAILABLE),
    }
}

/// Folds one record into a session.
fn fold(session: &mut Session, stored: &StoredRecord) {
    let Some(record) = &stored.record else { return };
    let position = record.position;
    if let Some(trace_record::Body::Decision(decision)) = &record.body {
        session.degraded |= decision.degraded;
    }
    match (&record.body, record.step_index) {
        (Some(trace_record::Body::Decision(decision)), Some(index)) => {
            let kept = KeptDecision::decode(stored.answer.clone()).unwrap_or_default();
            let verdict = decision.verdict();
            session.decided(
                position,
                index,
                Step {
                    ask: decision.ask,
                    decision_id: decision.decision_id.clone(),
                    permitted: matches!(verdict, Verdict::Allow | Verdict::Modify),
                    may_ask_again: matches!(verdict, Verdict::Defer | Verdict::RequireApproval),
                    kind: decision.kind(),
                    name: decision.name.clone(),
                    resource: kept.resource,
                    arguments_digest: kept.arguments_digest,
                    calls: Calls { provider: kept.provider, model: kept.model, tool: kept.tool },
                    estimate: kept.estimate.unwrap_or_default(),
                    hold_id: decision.hold_id.clone(),
                    last_try: None,
                },
            );
        }
        (Some(trace_record::Body::Step(step)), Some(index)) => {
            let attempt = Try { retry_count: step.retry_count, outcome: step.outcome(), position };
            let used = Used {
                cost_microusd: step.cost_microusd,
                tokens_input: step.input_tokens,
                tokens_output: step.output_tokens,
            };
            session.recorded(index, step.kind(), &step.name, attempt, used);
        }
        (Some(trace_record::Body::Resolution(resolution)), _) => {
            session.resolved(position, resolution.resolves_position, resolution.outcome());
        }
        (Some(trace_record::Body::Control(control)), Some(index))
            if control.action() == ControlAction::FreezeSeen =>
        {
            session.revoked(position, index);
        }
        _ => session.passed(position),
    }
}

/// What was kept beside a STEP record.
#[must_use]
pub(crate) fn kept_step(stored: &StoredRecord) -> KeptStep {
    KeptStep::decode(stored.answer.clone()).unwrap_or_default()
}

/// Amounts of a report, for settling its hold.
#[must_use]
pub(crate) fn actual(cost_microusd: i64, tokens_input: i64, tokens_output: i64, duration_us: i64) -> Amounts {
    Amounts { cost_microusd, tokens_input, tokens_output, duration_ms: duration_us / 1_000 }
}

/// The outcome's name, as a code.
#[must_use]
pub(crate) fn outcome_code(outcome: StepOutcome) -> &'static str {
    outcome.as_str_name().trim_start_matches("STEP_OUTCOME_")
}

#[cfg(test)]
mod tests {
    use contracts_logs::v1::{Decision, TraceRecord};

    use super::*;

    #[test]
    fn a_decision_that_nobody_could_make_marks_the_attempt_for_good() {
        let decided = |position: u64, step_index: Option<u32>, degraded: bool| StoredRecord {
            record: Some(TraceRecord {
                position,
                step_index,
                body: Some(trace_record::Body::Decision(Decision { degraded, ..Decision::default() })),
                ..TraceRecord::default()
            }),
            ..StoredRecord::default()
        };
        for at in [None, Some(0)] {
            let mut session = Session::default();
            fold(&mut session, &decided(1, Some(7), false));
            assert!(!session.degraded);
            fold(&mut session, &decided(2, at, true));
            fold(&mut session, &decided(3, Some(1), false));
            assert!(session.degraded, "{at:?}");
        }
    }
}
