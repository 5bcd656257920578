//! What makes an item invalid whatever the state of its trace. Every violation is noted, not the first only.

use contracts_common::common::v1::{
    ActorType, DecisionSource, Directive, OutcomeCategory, StepKind, StepOutcome, Verdict,
};
use contracts_logs::v1::{
    ControlAction, Correction, Decision, McpEvent, McpEventKind, McpSent, PayloadDirection, RecordItem,
    Resolution, SpanLink, Step, record_item,
};
use prost_types::Timestamp;
use runspine_errors::Violations;
use runspine_redact::MAX_PAYLOAD;
use runspine_types::is_code;

use super::MAX_ANSWER;

/// Notes violations of one item under its path.
struct Noter<'a> {
    path: &'a str,
    found: &'a mut Violations,
}

impl Noter<'_> {
    fn note(&mut self, field: &str, reason: &'static str, what: &str) {
        self.found.add(format!("{}.{field}", self.path), reason, what);
    }

    fn require(&mut self, holds: bool, field: &str, what: &str) {
        if !holds {
            self.note(field, "FIELD_INVALID", what);
        }
    }

    fn text(&mut self, field: &str, text: &str, most: usize) {
        self.require(text.len() <= most, field, "is longer than the field can hold");
    }

    fn ids(&mut self, fields: &[(&str, &str)]) {
        for (field, text) in fields {
            self.text(field, text, 128);
        }
    }

    fn digests(&mut self, fields: &[(&str, &[u8])]) {
        for (field, digest) in fields {
            if !matches!(digest.len(), 0 | 32) {
                self.note(field, "DIGEST_LENGTH", "is 32 bytes, or empty");
            }
        }
    }

    fn amounts(&mut self, fields: &[(&str, i64)]) {
        for (field, amount) in fields {
            self.require(*amount >= 0, field, "is at least 0");
        }
    }

    /// An enum that has to be set.
    fn chosen<E: TryFrom<i32>>(&mut self, field: &str, number: i32) {
        if number == 0 {
            self.note(field, "ENUM_UNSPECIFIED", "has to be set");
        } else {
            self.known::<E>(field, number);
        }
    }

    /// An enum that can stay unset.
    fn known<E: TryFrom<i32>>(&mut self, field: &str, number: i32) {
        if E::try_from(number).is_err() {
            self.note(field, "ENUM_UNKNOWN", "is not a value of this version");
        }
    }

    fn time(&mut self, field: &str, at: Option<&Timestamp>) {
        let Some(at) = at else { return };
        let whole = (0..1_000_000_000).contains(&at.nanos) && at.nanos % 1_000 == 0;
        let in_range = (0..=253_402_300_799).contains(&at.seconds);
        self.require(whole && in_range, field, "is a time after 1970 in whole microseconds");
    }
}

/// Notes everything that is wrong with `item`.
pub(super) fn item(item: &RecordItem, path: &str, found: &mut Violations) {
    let mut n = Noter { path, found };
    n.require((1..=128).contains(&item.idempotency_key.len()), "idempotency_key", "is 1 to 128 bytes long");
    n.time("occurred_at", item.occurred_at.as_ref());
    match &item.actor {
        None => n.note("actor", "FIELD_INVALID", "has to be set"),
        Some(actor) => {
            n.chosen::<ActorType>("actor.type", actor.r#type);
            n.require((1..=128).contains(&actor.id.len()), "actor.id", "is 1 to 128 bytes long");
        }
    }
    n.ids(&[("correlation_id", &item.correlation_id), ("causation_id", &item.causation_id)]);
    n.digests(&[("request_digest", &item.request_digest)]);
    n.require(item.answer.len() <= MAX_ANSWER, "answer", "is at most 16 KiB");
    payloads(item, &mut n);
    match &item.body {
        None => n.note("body", "CONTENT_REQUIRED", "has to be set"),
        Some(record_item::Body::Decision(b)) => {
            // Only the decision on the start of a run is about no kind of step, and that one takes no index.
            let about_a_step = b.kind != StepKind::Unspecified as i32 || item.step_index.is_none();
            n.require(about_a_step, "decision.kind", "has to be set for a step");
            decision(b, &mut n);
        }
        Some(record_item::Body::Step(b)) => {
            n.require(item.step_index.is_some(), "step_index", "has to be set for a step");
            step(b, &mut n);
        }
        Some(record_item::Body::Resolution(b)) => resolution(b, &mut n),
        Some(record_item::Body::Mcp(b)) => mcp(b, &mut n),
        Some(record_item::Body::Control(b)) => {
            n.chosen::<ControlAction>("control.action", b.action);
            n.text("control.reason", &b.reason, 1_024);
            n.ids(&[("control.authority", &b.authority), ("control.reference_id", &b.reference_id)]);
        }
        Some(record_item::Body::Correction(b)) => correction(b, &mut n),
        Some(record_item::Body::SpanLink(b)) => span_link(b, &mut n),
    }
}

fn payloads(item: &RecordItem, n: &mut Noter<'_>) {
    let of_a_step = matches!(item.body, Some(record_item::Body::Step(_)));
    n.require(of_a_step || item.payloads.is_empty(), "payloads", "come with a step");
    let mut sides: Vec<i32> = item.payloads.iter().map(|payload| payload.direction).collect();
    sides.sort_unstable();
    n.require(sides.windows(2).all(|pair| pair[0] != pair[1]), "payloads", "are at most one for each side");
    for payload in &item.payloads {
        n.chosen::<PayloadDirection>("payloads.direction", payload.direction);
        n.text("payloads.media_type", &payload.media_type, 128);
        n.text("payloads.subject", &payload.subject, 256);
        n.require(payload.content.len() <= MAX_PAYLOAD, "payloads.content", "is at most 4 MiB");
    }
}

fn decision(b: &Decision, n: &mut Noter<'_>) {
    n.require(!b.decision_id.is_empty(), "decision.decision_id", "has to be set");
    n.chosen::<Verdict>("decision.verdict", b.verdict);
    n.chosen::<Directive>("decision.directive", b.directive);
    n.known::<StepKind>("decision.kind", b.kind);
    n.chosen::<DecisionSource>("decision.source", b.source);
    n.known::<Verdict>("decision.would_verdict", b.would_verdict);
    n.text("decision.name", &b.name, 256);
    n.require(b.reason.is_empty() || is_code(&b.reason), "decision.reason", "is a code");
    n.require(b.rule_ids.len() <= 256, "decision.rule_ids", "are at most 256");
    for rule in &b.rule_ids {
        n.text("decision.rule_ids", rule, 128);
    }
    n.ids(&[
        ("decision.decision_id", &b.decision_id),
        ("decision.hold_id", &b.hold_id),
        ("decision.approval_id", &b.approval_id),
        ("decision.supersedes_decision_id", &b.supersedes_decision_id),
    ]);
    n.digests(&[
        ("decision.input_digest", &b.input_digest),
        ("decision.parameters_digest", &b.parameters_digest),
        ("decision.policy_snapshot_digest", &b.policy_snapshot_digest),
        ("decision.obligations_digest", &b.obligations_digest),
        ("decision.facts_digest", &b.facts_digest),
    ]);
}

fn step(b: &Step, n: &mut Noter<'_>) {
    n.chosen::<StepKind>("step.kind", b.kind);
    n.chosen::<StepOutcome>("step.outcome", b.outcome);
    n.known::<Verdict>("step.verdict", b.verdict);
    n.known::<OutcomeCategory>("step.outcome_category", b.outcome_category);
    n.text("step.name", &b.name, 256);
    n.require(b.outcome_code.is_empty() || is_code(&b.outcome_code), "step.outcome_code", "is a code");
    n.require(!b.unauthorized, "step.unauthorized", "is set by logs");
    let no_refs = b.input_ref.is_empty() && b.output_ref.is_empty();
    n.require(no_refs, "step.input_ref", "references are set by logs");
    n.ids(&[
        ("step.decision_id", &b.decision_id),
        ("step.provider", &b.provider),
        ("step.model", &b.model),
        ("step.external_ref", &b.external_ref),
        ("step.parent_external_ref", &b.parent_external_ref),
        ("step.operation", &b.operation),
    ]);
    n.digests(&[
        ("step.input_digest", &b.input_digest),
        ("step.output_digest", &b.output_digest),
        ("step.parameters_digest", &b.parameters_digest),
    ]);
    n.amounts(&[
        ("step.input_tokens", b.input_tokens),
        ("step.output_tokens", b.output_tokens),
        ("step.cache_read_tokens", b.cache_read_tokens),
        ("step.cache_write_tokens", b.cache_write_tokens),
        ("step.reasoning_tokens", b.reasoning_tokens),
        ("step.cost_microusd", b.cost_microusd),
        ("step.duration_us", b.duration_us),
    ]);
    n.time("step.started_at", b.started_at.as_ref());
}

fn resolution(b: &Resolution, n: &mut Noter<'_>) {
    n.require(b.resolves_position > 0, "resolution.resolves_position", "is at least 1");
    let settled = [StepOutcome::Success as i32, StepOutcome::Failure as i32].contains(&b.outcome);
    n.require(settled, "resolution.outcome", "is SUCCESS or FAILURE");
    let coded = b.outcome_code.is_empty() || is_code(&b.outcome_code);
    n.require(coded, "resolution.outcome_code", "is a code");
    n.require((1..=1_024).contains(&b.reason.len()), "resolution.reason", "is 1 to 1 024 bytes long");
    n.digests(&[("resolution.evidence_digest", &b.evidence_digest)]);
}

fn mcp(b: &McpEvent, n: &mut Noter<'_>) {
    n.chosen::<McpEventKind>("mcp.event", b.event);
    n.known::<McpSent>("mcp.sent", b.sent);
    n.require(!b.call_id.is_empty(), "mcp.call_id", "has to be set");
    n.require(!b.unauthorized, "mcp.unauthorized", "is set by logs");
    n.text("mcp.tool_name", &b.tool_name, 256);
    n.text("mcp.message", &b.message, 1_024);
    n.ids(&[
        ("mcp.server_id", &b.server_id),
        ("mcp.call_id", &b.call_id),
        ("mcp.policy_id", &b.policy_id),
        ("mcp.deny_reason", &b.deny_reason),
        ("mcp.error_code", &b.error_code),
        ("mcp.span_id", &b.span_id),
        ("mcp.decision_id", &b.decision_id),
        ("mcp.approval_id", &b.approval_id),
        ("mcp.hold_id", &b.hold_id),
    ]);
    n.text("mcp.host", &b.host, 256);
    n.digests(&[
        ("mcp.input_digest", &b.input_digest),
        ("mcp.output_digest", &b.output_digest),
        ("mcp.definition_digest", &b.definition_digest),
        ("mcp.action_digest", &b.action_digest),
        ("mcp.obligations_digest", &b.obligations_digest),
    ]);
    n.amounts(&[("mcp.duration_us", b.duration_us)]);
}

fn correction(b: &Correction, n: &mut Noter<'_>) {
    n.require(b.corrects_position > 0, "correction.corrects_position", "is at least 1");
    n.require((1..=1_024).contains(&b.reason.len()), "correction.reason", "is 1 to 1 024 bytes long");
    n.text("correction.field", &b.field, 128);
    n.text("correction.new_value", &b.new_value, 1_024);
}

fn span_link(b: &SpanLink, n: &mut Noter<'_>) {
    n.require(!b.external_ref.is_empty(), "span_link.external_ref", "has to be set");
    n.ids(&[
        ("span_link.external_ref", &b.external_ref),
        ("span_link.parent_external_ref", &b.parent_external_ref),
    ]);
    n.digests(&[("span_link.attributes_digest", &b.attributes_digest)]);
}
