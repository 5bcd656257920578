//! Gap and order rules: whether an item may be appended, given what is on the trace.

use contracts_common::common::v1::{GovernanceProfile, StepKind, StepOutcome, Verdict};
use contracts_logs::v1::{Decision, McpEvent, McpEventKind, Step, trace_record};
use runspine_errors::{Fault, mesh};

use super::{Body, Fact, Facts, Item, RESERVED, TraceState};
use crate::reasons;

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is already at this position.
    Duplicate(u64),
    /// It is new.
    New(Placed),
}

/// What logs adds to a new item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) step_index: Option<u32>,
    pub(super) unauthorized: bool,
    pub(super) gap: bool,
}

/// Judges `item` against the trace.
pub(super) fn admit(trace: &TraceState, item: &Item) -> Result<Admission, Fault> {
    if let Some(fact) = trace.facts.keyed(&item.idempotency_key) {
        return if same_request(fact, item) {
            Ok(Admission::Duplicate(fact.position))
        } else {
            let message = "the key was used for something else on this trace";
            Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, message).with("position", fact.position))
        };
    }
    if let Some(fact) = same_place(&trace.facts, item) {
        return if fact.content == item.content {
            Ok(Admission::Duplicate(fact.position))
        } else {
            let message = format!("position {} already holds another truth about it", fact.position);
            Err(Fault::new(&reasons::STEP_CONFLICT, message).with("position", fact.position))
        };
    }
    if trace.sealed {
        let message = "the trace is sealed; late facts go to an addendum";
        return Err(Fault::new(&reasons::TRACE_SEALED, message).precondition(trace.subject(), "is open"));
    }
    room(trace, item)?;
    place(trace, item).map(Admission::New)
}

/// Whether a repeat under one key is a repeat: by the caller's digest where both have one, else by content.
fn same_request(fact: &Fact, item: &Item) -> bool {
    match (fact.request_digest, item.request_digest) {
        (Some(first), Some(again)) => first == again,
        _ => fact.content == item.content,
    }
}

/// The record that already says something about the same try, decision, call event, settlement or span.
fn same_place<'a>(facts: &'a Facts, item: &Item) -> Option<&'a Fact> {
    match &item.body {
        trace_record::Body::Step(b) => {
            let tries = item.step_index.into_iter().flat_map(|i| facts.of_step(i, Body::Step));
            tries.into_iter().find(|f| f.retry_count == b.retry_count)
        }
        trace_record::Body::Decision(b) => {
            let asks = item.step_index.into_iter().flat_map(|i| facts.of_step(i, Body::Decision));
            let asked = asks.into_iter().find(|f| f.retry_count == b.ask);
            facts.referred(&b.decision_id, Body::Decision).next().or(asked)
        }
        trace_record::Body::Mcp(b) => facts.referred(&b.call_id, Body::Mcp).find(|f| f.kind == b.event),
        trace_record::Body::Resolution(b) => {
            let step = facts.at(b.resolves_position)?.step_index?;
            facts.of_step(step, Body::Resolution).find(|f| f.target == Some(b.resolves_position))
        }
        trace_record::Body::SpanLink(b) => facts.referred(&b.external_ref, Body::SpanLink).next(),
        trace_record::Body::Control(_) | trace_record::Body::Correction(_) => None,
    }
}

fn room(trace: &TraceState, item: &Item) -> Result<(), Fault> {
    let kept = match item.body {
        trace_record::Body::Control(_) | trace_record::Body::Resolution(_) => 0,
        _ => RESERVED,
    };
    if trace.count < trace.max_records.saturating_sub(kept) {
        return Ok(());
    }
    let message = format!("the trace holds {} records, as many as it may", trace.count);
    Err(Fault::new(&reasons::TRACE_FULL, message).precondition(trace.subject(), "has room"))
}

fn place(trace: &TraceState, item: &Item) -> Result<Placed, Fault> {
    match &item.body {
        // The decision on the start of the run is about no step and takes no index.
        trace_record::Body::Decision(b) if item.step_index.is_none() && is_start(b) => Ok(Placed::default()),
        trace_record::Body::Decision(_) => {
            let next = trace.largest_step_index.map_or(0, |i| i.saturating_add(1));
            let step_index = item.step_index.unwrap_or(next);
            let gap = gap(trace, step_index)?;
            Ok(Placed { step_index: Some(step_index), unauthorized: false, gap })
        }
        trace_record::Body::Step(b) => step(trace, item.step_index.unwrap_or(0), b),
        trace_record::Body::Resolution(b) => resolution(trace, b.resolves_position),
        trace_record::Body::Mcp(b) => {
            let unauthorized = !in_order(&trace.facts, b);
            Ok(Placed { step_index: item.step_index, unauthorized, gap: false })
        }
        trace_record::Body::Correction(b) if trace.facts.at(b.corrects_position).is_none() => {
            let message = format!("position {} is not on the trace", b.corrects_position);
            Err(Fault::new(&reasons::RECORD_NOT_FOUND, message))
        }
        _ => Ok(Placed { step_index: item.step_index, ..Placed::default() }),
    }
}

/// Whether a decision is the one on the start: the only one about no kind of step.
fn is_start(decision: &Decision) -> bool {
    decision.kind == StepKind::Unspecified as i32
}

/// Whether `index` skips one that is not on the trace.
fn gap(trace: &TraceState, index: u32) -> Result<bool, Fault> {
    let next = trace.largest_step_index.map_or(0, |i| i.saturating_add(1));
    let gap = index > next;
    if gap && trace.profile == GovernanceProfile::Strict as i32 {
        let message = format!("step {index} was given, step {next} is next");
        return Err(
            Fault::new(&reasons::STEP_GAP, message).precondition("step_index", format!("is at most {next}"))
        );
    }
    Ok(gap)
}

fn step(trace: &TraceState, index: u32, b: &Step) -> Result<Placed, Fault> {
    let gap = gap(trace, index)?;
    tries(trace, index, b.retry_count)?;
    let unauthorized = if b.decision_id.is_empty() {
        true
    } else {
        let Some(decision) = trace.facts.referred(&b.decision_id, Body::Decision).next() else {
            let message = "the decision is not on this trace";
            return Err(Fault::new(&reasons::DECISION_UNKNOWN, message)
                .precondition("decision_id", "is on the trace"));
        };
        let allows = [Verdict::Allow as i32, Verdict::Modify as i32].contains(&decision.status);
        decision.step_index != Some(index) || !(allows || b.outcome == StepOutcome::Skipped as i32)
    };
    Ok(Placed { step_index: Some(index), unauthorized, gap })
}

/// Tries are 0, 1, 2 …, each but the last RETRIED, or AMBIGUOUS and settled as FAILURE.
fn tries(trace: &TraceState, index: u32, retry_count: u32) -> Result<(), Fault> {
    let refuse = |reason, message: &str, wanted: &str| {
        Err(Fault::new(reason, format!("step {index}: {message}"))
            .precondition(format!("steps/{index}"), wanted))
    };
    let mut next = 0;
    for fact in trace.facts.of_step(index, Body::Step) {
        next = next.max(fact.retry_count.saturating_add(1));
        let settled = trace.facts.of_step(index, Body::Resolution).find(|r| r.target == Some(fact.position));
        match (StepOutcome::try_from(fact.status), settled.map(|r| StepOutcome::try_from(r.status))) {
            (Ok(StepOutcome::Retried), _) | (Ok(StepOutcome::Ambiguous), Some(Ok(StepOutcome::Failure))) => {}
            (Ok(StepOutcome::Ambiguous), None) => {
                let message = "its last try is ambiguous; an unknown outcome is never retried blindly";
                return refuse(&reasons::STEP_AMBIGUOUS, message, "is settled");
            }
            _ => return refuse(&reasons::STEP_FINAL, "it already ended", "has not ended"),
        }
    }
    if retry_count != next {
        let message = format!("try {retry_count} was given, try {next} is next");
        return refuse(&reasons::RETRY_GAP, &message, "has every try before");
    }
    Ok(())
}

fn resolution(trace: &TraceState, position: u64) -> Result<Placed, Fault> {
    match trace.facts.at(position) {
        Some(fact) if fact.body == Body::Step && fact.status == StepOutcome::Ambiguous as i32 => {
            Ok(Placed { step_index: fact.step_index, ..Placed::default() })
        }
        Some(_) => {
            let message = format!("position {position} holds no ambiguous try");
            let subject = format!("positions/{position}");
            Err(Fault::new(&reasons::STEP_FINAL, message).precondition(subject, "is an ambiguous try"))
        }
        None => {
            Err(Fault::new(&reasons::RECORD_NOT_FOUND, format!("position {position} is not on the trace")))
        }
    }
}

/// Whether a tool-call event comes after the one that it has to come after, and before any end.
fn in_order(facts: &Facts, b: &McpEvent) -> bool {
    let seen = |kind: McpEventKind| facts.referred(&b.call_id, Body::Mcp).any(|f| f.kind == kind as i32);
    let ended = seen(McpEventKind::Denied) || seen(McpEventKind::Completed) || seen(McpEventKind::Failed);
    let after = match McpEventKind::try_from(b.event) {
        Ok(McpEventKind::Allowed | McpEventKind::Denied) => seen(McpEventKind::Requested),
        Ok(McpEventKind::Started) => seen(McpEventKind::Allowed),
        Ok(McpEventKind::Completed | McpEventKind::Failed) => seen(McpEventKind::Started),
        _ => true,
    };
    after && !ended
}
