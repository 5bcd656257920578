//! Whether an evidence bundle has what it needs.

use std::collections::BTreeMap;

use contracts_logs::v1::Completeness;
use serde_json::Value;

/// Fields that every bundle has.
pub const REQUIRED: [&str; 12] = [
    "bundle_id",
    "incident_id",
    "run_id",
    "trace_id",
    "tenant_id",
    "policy_snapshot_id",
    "termination_reason",
    "total_steps",
    "total_tokens",
    "total_cost_microusd",
    "created_at",
    "exported_by",
];

/// Fields that SOC 2 adds.
pub const SOC2: [&str; 4] =
    ["control_mappings", "attestation_statement", "compliance_period_start", "compliance_period_end"];

/// Fields that a bundle should have.
pub const RECOMMENDED: [&str; 4] =
    ["content_hash", "violation_step_index", "export_reason", "total_duration_ms"];

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// The result.
    pub result: Completeness,
    /// Required fields that are missing.
    pub missing_required: Vec<&'static str>,
    /// Recommended fields that are missing.
    pub missing_recommended: Vec<&'static str>,
    /// Fields that are present, per thousand of those looked for.
    pub permille: u32,
}

/// Whether a field has no value: 0 is one; nothing, an empty text and an empty list are none.
pub(super) fn is_missing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

/// Judges the fields of a bundle.
#[must_use]
pub fn check(soc2: bool, fields: &BTreeMap<String, Value>, strict: bool) -> Checked {
    let missing = |name: &&str| is_missing(fields.get(*name));
    let added: &[&str] = if soc2 { &SOC2 } else { &[] };
    let wanted = REQUIRED.iter().chain(added).copied();
    let missing_required: Vec<&'static str> = wanted.filter(|name| missing(name)).collect();
    let missing_recommended: Vec<&'static str> = RECOMMENDED.into_iter().filter(|n| missing(n)).collect();
    let result = match (missing_required.is_empty(), missing_recommended.is_empty()) {
        (true, true) => Completeness::Complete,
        (true, false) if !strict => Completeness::Partial,
        _ => Completeness::Incomplete,
    };
    let all = REQUIRED.len() + added.len() + RECOMMENDED.len();
    let present = all - missing_required.len() - missing_recommended.len();
    let permille = u32::try_from(present * 1_000 / all).unwrap_or(1_000);
    Checked { result, missing_required, missing_recommended, permille }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> BTreeMap<String, Value> {
        let names = REQUIRED.iter().chain(&SOC2).chain(&RECOMMENDED);
        names.map(|name| ((*name).to_owned(), Value::from(0))).collect()
    }

    #[test]
    fn each_field_removed_in_turn() {
        assert_eq!(all().len(), 20);
        assert_eq!(check(true, &all(), true).result, Completeness::Complete, "0 is a value");
        for name in all().keys() {
            let added = SOC2.contains(&name.as_str());
            let recommended = RECOMMENDED.contains(&name.as_str());
            for empty in [None, Some(Value::Null), Some("".into()), Some(Value::Array(vec![]))] {
                let mut fields = all();
                fields.remove(name);
                fields.extend(empty.map(|value| (name.clone(), value)));
                for (soc2, strict) in [(true, true), (true, false), (false, true), (false, false)] {
                    let checked = check(soc2, &fields, strict);
                    let expected = match (added, recommended) {
                        (true, _) if !soc2 => Completeness::Complete,
                        (_, true) if !strict => Completeness::Partial,
                        _ => Completeness::Incomplete,
                    };
                    assert_eq!(checked.result, expected, "{name}, SOC 2 {soc2}, strict {strict}");
                    let missing = checked.missing_required.iter().chain(&checked.missing_recommended);
                    assert_eq!(missing.count(), usize::from(expected != Completeness::Complete));
                }
            }
        }
        assert_eq!(check(true, &BTreeMap::new(), false).permille, 0);
    }
}
