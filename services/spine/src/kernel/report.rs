//! A report of a step as the record of it.

use contracts_common::common::v1::{Directive, OutcomeCategory, StepKind, Verdict};
use contracts_logs::v1::{self as logs, RecordItem, record_item};
use contracts_spine::v1::{KeptStep, RecordStepRequest, StepPayload};
use prost::Message;
use runspine_rpc::timestamp;
use runspine_types::{Digest, Hasher};

use super::{session::Step, trace::outcome_code};

/// How a report relates to what was decided.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) step: Option<Step>,
    pub(super) unauthorized: bool,
    pub(super) despite_denial: bool,
    pub(super) late: bool,
    pub(super) gap: bool,
    /// What the run is told because of where it stands; UNSPECIFIED: nothing.
    pub(super) halted: Directive,
}

pub(super) fn report_digest(report: &RecordStepRequest) -> Digest {
    let mut plain = report.clone();
    plain.fence = 0;
    Hasher::new("runspine.request.v1").sized(b"RecordStep").sized(&plain.encode_to_vec()).finish()
}

pub(super) fn stored_occurred(
    report: &RecordStepRequest,
    stored: &logs::Receipt,
) -> Option<prost_types::Timestamp> {
    report.ended_at.or(stored.recorded_at)
}

pub(super) fn kind(report: &RecordStepRequest, standing: &Standing) -> StepKind {
    standing.step.as_ref().filter(|s| !s.decision_id.is_empty()).map_or(report.kind(), |s| s.kind)
}

pub(super) fn name(report: &RecordStepRequest, standing: &Standing) -> String {
    let decided = standing.step.as_ref().filter(|s| !s.decision_id.is_empty());
    decided.map_or_else(|| report.name.clone(), |s| s.name.clone())
}

/// What a step was about: as it was decided, or the name that a step without a decision has.
pub(super) fn resource(report: &RecordStepRequest, standing: &Standing) -> String {
    standing.step.as_ref().map_or_else(|| report.name.clone(), |s| s.resource.clone())
}

pub(super) fn kept(report: &RecordStepRequest, standing: &Standing) -> KeptStep {
    let step = standing.step.as_ref();
    KeptStep {
        resource: resource(report, standing),
        output_size: report.output_size,
        output_labels: report.output_labels.clone(),
        obligations_applied: report.obligations_applied.clone(),
        hold_id: step.map(|s| s.hold_id.clone()).unwrap_or_default(),
        late: standing.late,
        unauthorized: standing.unauthorized,
        gap: standing.gap,
        halted: standing.halted.into(),
    }
}

pub(super) fn body(report: &RecordStepRequest, standing: &Standing) -> logs::Step {
    let code = if report.outcome_code.is_empty() {
        outcome_code(report.outcome()).to_owned()
    } else {
        report.outcome_code.clone()
    };
    let category = match report.outcome_category() {
        OutcomeCategory::Unspecified => OutcomeCategory::Execution,
        stated => stated,
    };
    let permitted = standing.step.as_ref().is_some_and(|s| s.permitted);
    let verdict = match (&standing.step, permitted) {
        (Some(step), true) if !step.decision_id.is_empty() => Verdict::Allow,
        (Some(step), false) if !step.decision_id.is_empty() => Verdict::Deny,
        _ => Verdict::Unspecified,
    };
    logs::Step {
        kind: kind(report, standing).into(),
        name: name(report, standing),
        decision_id: if standing.unauthorized && !standing.despite_denial {
            String::new()
        } else {
            report.decision_id.clone()
        },
        verdict: verdict.into(),
        unauthorized: standing.unauthorized,
        outcome: report.outcome,
        outcome_category: category.into(),
        outcome_code: code,
        retry_count: report.retry_count,
        input_digest: report.input_digest.clone(),
        output_digest: report.output_digest.clone(),
        parameters_digest: report.parameters_digest.clone(),
        input_tokens: report.tokens_input,
        output_tokens: report.tokens_output,
        cache_read_tokens: report.cache_read_tokens,
        cache_write_tokens: report.cache_write_tokens,
        reasoning_tokens: report.reasoning_tokens,
        cost_microusd: report.cost_microusd.unwrap_or(0),
        duration_us: report.duration_us,
        started_at: report.started_at,
        provider: report.provider.clone(),
        model: report.model.clone(),
        external_ref: report.external_ref.clone(),
        cost_estimated: report.cost_microusd.is_none(),
        ..logs::Step::default()
    }
}

/// Both enums have the same numbers; logs checks them.
fn payload(given: &StepPayload) -> logs::Payload {
    logs::Payload {
        direction: given.direction,
        media_type: given.media_type.clone(),
        content: given.content.clone(),
        subject: given.subject.clone(),
    }
}

/// Key of a report on its trace.
pub(super) fn step_key(report: &RecordStepRequest) -> String {
    format!("s/{}/{}", report.step_index, report.retry_count)
}

pub(super) fn item(
    report: &RecordStepRequest,
    standing: &Standing,
    digest: Digest,
    now: runspine_types::Micros,
) -> RecordItem {
    // Logs finds out from the trace whether the step was allowed, and refuses to be told.
    let step = logs::Step { unauthorized: false, ..body(report, standing) };
    RecordItem {
        idempotency_key: step_key(report),
        occurred_at: report.ended_at.or_else(|| Some(timestamp(now))),
        step_index: Some(report.step_index),
        causation_id: report.decision_id.clone(),
        request_digest: digest.to_vec().into(),
        answer: kept(report, standing).encode_to_vec().into(),
        body: Some(record_item::Body::Step(step)),
        payloads: report.payloads.iter().map(payload).collect(),
        ..RecordItem::default()
    }
}
