//! Bodies of sequence rules as messages, and back.

use contracts_policies::v1 as pb;
use runspine_errors::Violations;
use runspine_policies_domain::{
    sequence::Sequence,
    words::{SequenceKind, StateScope},
};

/// A body as a message.
pub(crate) fn body(s: &Sequence) -> pb::SequenceBody {
    pb::SequenceBody {
        kind: s.kind.code(),
        events: s.events.clone(),
        trigger: s.trigger.clone(),
        closes: s.closes.clone(),
        block_until: s.block_until.clone(),
        window: s.window.clone(),
        max: s.max,
        measure: s.measure.clone(),
        labels: s.labels.clone(),
        state_scope: s.state_scope.code(),
        count_denied: s.count_denied,
        reason: s.reason.clone(),
        message: s.message.clone(),
        outcome: s.outcome.clone(),
        run: s.run.clone(),
        obligations: s.obligations.clone(),
        severity: s.severity.clone(),
        violation: s.violation.clone(),
        origin: s.origin.clone(),
    }
}

/// A body as it is asked for.
pub(crate) fn parsed(v: &mut Violations, field: &str, b: pb::SequenceBody) -> Sequence {
    let kind = SequenceKind::from_code(b.kind);
    v.require(kind.is_some(), &format!("{field}.kind"), "ENUM_UNKNOWN", "a known kind");
    let scope = if b.state_scope == 0 { Some(StateScope::Run) } else { StateScope::from_code(b.state_scope) };
    v.require(scope.is_some(), &format!("{field}.state_scope"), "ENUM_UNKNOWN", "a known scope");
    Sequence {
        block_until: b.block_until,
        closes: b.closes,
        count_denied: b.count_denied,
        events: b.events,
        kind: kind.unwrap_or(SequenceKind::CountInWindow),
        labels: b.labels,
        max: b.max,
        measure: b.measure,
        message: b.message,
        obligations: b.obligations,
        origin: b.origin,
        outcome: b.outcome,
        reason: b.reason,
        run: b.run,
        severity: b.severity,
        state_scope: scope.unwrap_or(StateScope::Run),
        trigger: b.trigger,
        violation: b.violation,
        window: b.window,
    }
}
