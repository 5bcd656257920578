//! What other domains give to an export, and the documents that are made of it.

use std::collections::BTreeMap;

use contracts_logs::v1::{
    ExportDocument, ExportFigure, ExportPartStatus, ExportScope, add_export_part_request::Piece,
};
use serde_json::{Map, Value, json};

use super::{completeness::is_missing, incident::without_soc2};

/// The domains that an export of this scope waits for.
#[must_use]
pub const fn sources(scope: ExportScope) -> &'static [&'static str] {
    match scope {
        ExportScope::Bundle => &["policies"],
        ExportScope::Evidence | ExportScope::Executive | ExportScope::Incident => {
            &["activity", "controls", "incidents", "policies"]
        }
        ExportScope::LlmRun
        | ExportScope::System
        | ExportScope::Audit
        | ExportScope::Compliance
        | ExportScope::Unspecified => &[],
    }
}

/// What one domain gave.
#[derive(Debug, Clone, Default)]
pub struct Part {
    /// The domain.
    pub source: String,
    /// Whether it could be asked.
    pub status: ExportPartStatus,
    /// Why not.
    pub reason: String,
    /// Its pieces, in the order in which they came.
    pub pieces: Vec<Piece>,
}

impl Part {
    /// Whether the domain could be asked.
    pub(super) fn is_ok(&self) -> bool {
        self.status == ExportPartStatus::Ok
    }

    pub(super) fn documents(&self) -> impl Iterator<Item = &ExportDocument> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Document(document) => Some(document),
            _ => None,
        })
    }

    fn figures(&self) -> impl Iterator<Item = &ExportFigure> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Figure(figure) => Some(figure),
            _ => None,
        })
    }

    fn stands(&self) -> Value {
        json!({"status": word(self.status), "reason": self.reason})
    }
}

fn word(status: ExportPartStatus) -> &'static str {
    status.as_str_name().trim_start_matches("EXPORT_PART_STATUS_")
}

/// The domains that could not be asked, as they stand among what an export lacks.
pub fn failed(parts: &[Part]) -> impl Iterator<Item = String> + '_ {
    let unasked = parts.iter().filter(|part| part.status != ExportPartStatus::Ok);
    unasked.map(|part| format!("sources.{}", part.source))
}

/// A figure of any part that has a value.
#[must_use]
pub fn figure(parts: &[Part], name: &str) -> Option<Value> {
    let named = parts.iter().flat_map(Part::figures).find(|figure| figure.name == name)?;
    serde_json::from_str(&named.value).ok().filter(|value| !is_missing(Some(value)))
}

/// Adds what incidents say of a run to what logs heard: its incident and its step, or that there is none.
pub fn complete_with(fields: &mut BTreeMap<String, Value>, parts: &[Part]) {
    for name in ["incident_id", "violation_step_index"] {
        if let Some(value) = figure(parts, name) {
            fields.insert(name.to_owned(), value);
        }
    }
    if figure(parts, "incident_count") == Some(json!(0)) {
        fields.insert("incident_id".to_owned(), "none".into());
    }
}

/// The fields of an evidence bundle and, by source, everything that the domains gave.
#[must_use]
pub fn evidence(fields: BTreeMap<String, Value>, parts: &[Part]) -> Value {
    bundled(without_soc2(fields), parts)
}

/// Fields and, by source, everything that the domains gave.
#[must_use]
pub fn bundled(mut fields: BTreeMap<String, Value>, parts: &[Part]) -> Value {
    let sources: Map<String, Value> = parts.iter().map(|part| (part.source.clone(), given(part))).collect();
    fields.insert("sources".to_owned(), Value::Object(sources));
    Value::Object(fields.into_iter().collect())
}

/// Everything that one domain gave, and how it stood.
#[must_use]
pub fn given(part: &Part) -> Value {
    let documents: Vec<Value> =
        part.documents().map(|d| json!({"type": d.r#type, "document": parsed(&d.json)})).collect();
    let mut given = part.stands();
    given["figures"] = part.figures().map(|f| (f.name.clone(), told(f))).collect::<Map<_, _>>().into();
    given["documents"] = documents.into();
    given
}

fn told(figure: &ExportFigure) -> Value {
    json!({"value": parsed(&figure.value), "reference": figure.reference})
}

/// Texts were checked when they came: what can't be read now is shown as it is.
fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

/// What the trace itself says, as a reference of figures.
const TRACE: &str = "runspine.logs.v1.TraceService/GetTrace";

/// The page, section by section; a figure stands where its name does.
const SECTIONS: [(&str, &[&str]); 5] = [
    ("risk", &["risk_level", "incident_severity", "occurrence_count"]),
    (
        "impact",
        &[
            "agent_id",
            "attempt_count",
            "total_steps",
            "total_tokens",
            "total_cost_microusd",
            "total_duration_ms",
            "incident_count",
            "cost_impact_microusd",
        ],
    ),
    (
        "violation",
        &[
            "termination_reason",
            "policy_violated",
            "violation_count",
            "denied_count",
            "breach_count",
            "violated_at",
            "detected_at",
        ],
    ),
    ("containment", &["freeze_count"]),
    ("remediation", &["incident_id", "incident_status", "resolved_at", "resolution_summary"]),
];

/// One page for whoever answers for an attempt. `own` are the fields that the trace gives.
#[must_use]
pub fn executive(own: &BTreeMap<String, Value>, parts: &[Part]) -> Value {
    let mut figures: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, value) in own {
        figures.insert(name, json!({"value": value, "reference": TRACE}));
    }
    // What its own domain says of a thing goes before what logs heard of it.
    for figure in parts.iter().flat_map(Part::figures) {
        figures.insert(&figure.name, told(figure));
    }
    let mut page = Map::new();
    for name in ["bundle_id", "tenant_id", "run_id", "attempt", "exported_by", "export_reason", "created_at"]
    {
        page.insert(name.to_owned(), own.get(name).cloned().unwrap_or(Value::Null));
    }
    page.insert("summary".to_owned(), summary(own, parts).into());
    let mut missing = Vec::new();
    for (section, names) in SECTIONS {
        let mut rows = Map::new();
        for name in names {
            match figures.get(name) {
                Some(figure) => drop(rows.insert((*name).to_owned(), figure.clone())),
                None => missing.push(*name),
            }
        }
        page.insert(section.to_owned(), Value::Object(rows));
    }
    if let Some(gap) = gap_ms(&figures) {
        page["violation"]["detection_gap_ms"] =
            json!({"value": gap, "reference": "detected_at - violated_at"});
    }
    let sources = parts.iter().map(|part| (part.source.clone(), part.stands())).collect::<Map<_, _>>();
    page.insert("sources".to_owned(), Value::Object(sources));
    page.insert("missing".to_owned(), json!(missing));
    Value::Object(page)
}

/// From the first violation to the incident about it, both in microseconds since 1970.
fn gap_ms(figures: &BTreeMap<&str, Value>) -> Option<i64> {
    let at = |name: &str| figures.get(name).and_then(|figure| figure["value"].as_i64());
    Some((at("detected_at")? - at("violated_at")?) / 1_000)
}

fn summary(own: &BTreeMap<String, Value>, parts: &[Part]) -> String {
    let text = |name: &str| match own.get(name) {
        Some(Value::String(text)) => text.clone(),
        other => other.map(Value::to_string).unwrap_or_default(),
    };
    let ended = format!(
        "Attempt {} of run {} ended with {} after {} steps, {} tokens and {} micro-USD.",
        text("attempt"),
        text("run_id"),
        text("termination_reason"),
        text("total_steps"),
        text("total_tokens"),
        text("total_cost_microusd"),
    );
    let word =
        |name: &str| figure(parts, name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let incidents = match figure(parts, "incident_count").as_ref().and_then(Value::as_u64) {
        None => "Whether it led to incidents could not be asked.".to_owned(),
        Some(0) => "It led to no incident.".to_owned(),
        Some(count) => format!(
            "Incidents: {count}; the worst is {} and {}.",
            word("incident_severity"),
            word("incident_status")
        ),
    };
    format!("{ended} {incidents}")
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
