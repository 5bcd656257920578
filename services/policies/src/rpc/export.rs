//! A decision row as canonical JSON for the evidence bundle: keys sorted, digests in hex, times in microseconds.

use contracts_common::common::v1 as common;
use contracts_policies::v1 as pb;
use serde_json::{Value, json};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn reason(r: &common::Reason) -> Value {
    json!({
        "check": r.check, "code": r.code, "message": r.message, "outcome": r.outcome,
        "precedence": r.precedence, "source_id": r.source_id, "version": r.version,
    })
}

fn matched(m: &pb::Match) -> Value {
    json!({
        "action": m.action, "code": m.code, "directive": m.directive, "message": m.message, "mode": m.mode,
        "outcome": m.outcome, "precedence": m.precedence, "rule_id": m.rule_id, "version": m.version,
    })
}

fn list<T>(items: &[T], one: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(one).collect())
}

/// The row.
pub(super) fn row_json(d: &pb::Decision) -> String {
    let decided_at = d.decided_at.as_ref().map_or(0, |t| runspine_rpc::micros(t).0);
    let obligations = list(&d.obligations, |o| json!({"args": o.args, "name": o.name}));
    // `json!` keeps the order of its text; the keys stand in the order of their code points.
    let row = json!({
        "approval_id": d.approval_id,
        "ask": d.ask,
        "attempt": d.attempt,
        "bypass_id": d.bypass_id,
        "candidates": d.candidates,
        "config_digest": hex(&d.config_digest),
        "decided_at_us": decided_at,
        "decision_id": d.decision_id,
        "degraded": d.degraded,
        "directive": d.directive,
        "effective_directive": d.effective_directive,
        "effective_verdict": d.effective_verdict,
        "evaluate_ns": d.evaluate_ns,
        "failure": d.failure,
        "grants": d.grants,
        "inputs_digest": hex(&d.inputs_digest),
        "kind": d.kind,
        "matches": list(&d.matches, matched),
        "moment": d.moment,
        "name": d.name,
        "needs": d.needs,
        "obligations": obligations,
        "principal": d.principal,
        "profile": d.profile,
        "reasons": list(&d.reasons, reason),
        "resource": d.resource,
        "retry_after_ms": d.retry_after_ms,
        "run_id": d.run_id,
        "schema_digest": hex(&d.schema_digest),
        "semantics_version": d.semantics_version,
        "snapshot_digest": hex(&d.snapshot_digest),
        "step_index": d.step_index,
        "taints_added": d.taints_added,
        "verdict": d.verdict,
        "verdict_without_bypass": d.verdict_without_bypass,
        "warnings": list(&d.warnings, reason),
    });
    row.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_order_at_every_level() {
        let mut d = pb::Decision { reasons: vec![common::Reason::default()], ..pb::Decision::default() };
        d.matches.push(pb::Match::default());
        d.obligations.push(common::Obligation::default());
        let value: Value = serde_json::from_str(&row_json(&d)).unwrap();
        fn check(v: &Value) -> usize {
            match v {
                Value::Object(o) => {
                    let keys: Vec<&String> = o.keys().collect();
                    assert!(keys.is_sorted(), "{keys:?}");
                    keys.len() + o.values().map(check).sum::<usize>()
                }
                Value::Array(a) => a.iter().map(check).sum(),
                _ => 0,
            }
        }
        assert!(check(&value) > 50);
    }
}
