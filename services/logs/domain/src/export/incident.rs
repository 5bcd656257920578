//! Exports of incidents: what is known of every attempt that one struck, as one report.

use std::collections::BTreeMap;

use contracts_logs::v1::{ExportDocument, IncidentOrder};
use serde_json::{Value, json};

use super::{
    completeness::SOC2,
    parts::{Part, figure},
    soc2::{Facts, known, report},
};

/// What is known of one attempt.
#[derive(Debug, Clone, Default)]
pub struct Struck {
    /// Its fields, as a report about it alone has them.
    pub fields: BTreeMap<String, Value>,
    /// What they follow from.
    pub facts: Facts,
    /// Status of its proof, made for this export.
    pub proof: &'static str,
    /// Verdict of its audit contract. Empty: none yet.
    pub verdict: &'static str,
    /// Certificates of the run that are not revoked.
    pub certificates: Vec<String>,
}

/// Fields that a report says of each attempt.
const OF_ATTEMPT: [&str; 11] = [
    "run_id",
    "attempt",
    "trace_id",
    "agent_id",
    "policy_snapshot_id",
    "termination_reason",
    "total_steps",
    "total_tokens",
    "total_cost_microusd",
    "total_duration_ms",
    "content_hash",
];
/// Fields that are counted over all attempts.
const SUMS: [&str; 4] = ["total_steps", "total_tokens", "total_cost_microusd", "total_duration_ms"];
/// The message that names an attempt in what incidents gave.
const ATTEMPT: &str = "runspine.incidents.v1.IncidentAttempt";

/// The fields of a report about an incident. `base` are those that do not depend on any attempt. What the first attempt
/// says stands for all where only one can be said, and figures are sums; each attempt stands in `runs`.
#[must_use]
pub fn incident_fields(
    order: &IncidentOrder,
    base: BTreeMap<String, Value>,
    struck: &[Struck],
    parts: &[Part],
) -> BTreeMap<String, Value> {
    let mut fields = struck.first().map(|first| first.fields.clone()).unwrap_or_default();
    fields.extend(base);
    if !struck.is_empty() {
        for name in SUMS {
            let sum: i64 = struck.iter().filter_map(|one| one.fields.get(name)?.as_i64()).sum();
            fields.insert(name.to_owned(), sum.into());
        }
    }
    let runs = struck.iter().map(|one| {
        let said = OF_ATTEMPT.iter().filter_map(|name| one.fields.get_key_value(*name));
        let mut run: serde_json::Map<String, Value> = said.map(|(n, v)| (n.clone(), v.clone())).collect();
        run.insert("proof".to_owned(), one.proof.into());
        run.insert("contract_verdict".to_owned(), one.verdict.into());
        run.insert("certificates".to_owned(), json!(one.certificates));
        Value::Object(run)
    });
    fields.insert("runs".to_owned(), runs.collect());
    let step = figure(parts, "violation_step_index");
    fields.extend(step.map(|step| ("violation_step_index".to_owned(), step)));
    let facts = facts(order, struck, parts);
    fields.insert("incident_id".to_owned(), order.incident_id.clone().into());
    fields.insert("incident_category".to_owned(), facts.category.into());
    fields.insert("incident_part_digest".to_owned(), hex::encode(&order.part_digest).into());
    fields.insert("control_mappings".to_owned(), report(&facts));
    fields.insert("attestation_statement".to_owned(), attestation(struck).into());
    fields
}

/// What holds for every attempt. Nothing is proved of an incident without one.
fn facts(order: &IncidentOrder, struck: &[Struck], parts: &[Part]) -> Facts {
    let first = struck.first().map(|one| one.facts.clone()).unwrap_or_default();
    let said = figure(parts, "incident_category");
    let breached = figure(parts, "breach_count").and_then(|count| count.as_u64()).is_some_and(|n| n > 0);
    let all = |holds: fn(&Facts) -> bool| !struck.is_empty() && struck.iter().all(|one| holds(&one.facts));
    Facts {
        incident_id: order.incident_id.clone(),
        category: said.as_ref().and_then(Value::as_str).map_or(first.category, known),
        limit_breach: breached || struck.iter().any(|one| one.facts.limit_breach),
        trace: !struck.is_empty(),
        total_tokens: struck.iter().map(|one| one.facts.total_tokens).sum(),
        total_duration_ms: struck.iter().map(|one| one.facts.total_duration_ms).sum(),
        verified: all(|facts| facts.verified),
        complete: all(|facts| facts.complete),
        ..first
    }
}

/// What was verified of each attempt; nothing that was not.
fn attestation(struck: &[Struck]) -> String {
    if struck.is_empty() {
        return "The incident struck no attempt; nothing is attested.".to_owned();
    }
    let of = |one: &Struck| {
        let text = |name: &str| one.fields.get(name).map(ToString::to_string).unwrap_or_default();
        format!(
            "Run {} attempt {}: {}",
            text("run_id").trim_matches('"'),
            text("attempt"),
            one.facts.attestation()
        )
    };
    struck.iter().map(of).collect::<Vec<_>>().join(" ")
}

/// Whether incidents gave what was ordered: the incident and its part by their names, and exactly these attempts. A
/// domain that could not be asked gave nothing that could differ.
#[must_use]
pub fn agrees(order: &IncidentOrder, parts: &[Part]) -> bool {
    let Some(part) = parts.iter().find(|part| part.source == "incidents") else { return true };
    if !part.is_ok() {
        return true;
    }
    let says = |name: &str, value: &str| figure(parts, name).as_ref().and_then(Value::as_str) == Some(value);
    let mut wanted: Vec<(&str, u32)> =
        order.attempts.iter().map(|one| (one.run_id.as_str(), one.attempt)).collect();
    let given: Vec<Value> = part.documents().filter(|d| d.r#type == ATTEMPT).filter_map(parsed).collect();
    let number = |one: &Value| one["attempt"].as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let mut named: Vec<(&str, u32)> =
        given.iter().map(|one| (one["runId"].as_str().unwrap_or_default(), number(one))).collect();
    wanted.sort_unstable();
    named.sort_unstable();
    says("incident_id", &order.incident_id)
        && says("incident_part_digest", &hex::encode(&order.part_digest))
        && wanted == named
}

fn parsed(document: &ExportDocument) -> Option<Value> {
    serde_json::from_str(&document.json).ok()
}

/// Without what only a report against SOC 2 says.
#[must_use]
pub fn without_soc2(mut fields: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    fields.retain(|name, _| !SOC2.contains(&name.as_str()));
    fields
}

/// What a page about an incident says first.
#[must_use]
pub fn incident_summary(order: &IncidentOrder, fields: &BTreeMap<String, Value>, parts: &[Part]) -> String {
    let Some(Value::String(severity)) = figure(parts, "incident_severity") else {
        return format!("Incident {}. How it stands could not be asked.", order.incident_id);
    };
    let word =
        |name: &str| figure(parts, name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let count = |name: &str| figure(parts, name).as_ref().and_then(Value::as_i64).unwrap_or_default();
    let cost = fields.get("total_cost_microusd").and_then(Value::as_i64).unwrap_or_default();
    format!(
        "Incident {} is {severity} and {}: {} occurrences in {} attempts, which cost {cost} micro-USD.",
        order.incident_id,
        word("incident_status"),
        count("occurrence_count"),
        order.attempts.len(),
    )
}

#[cfg(test)]
#[path = "incident_tests.rs"]
mod tests;
