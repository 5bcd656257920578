//! Reports as a person reads them: a title, a summary, sections of rows. How they become pages is said elsewhere.

use std::collections::BTreeMap;

use runspine_types::Micros;
use serde_json::{Map, Value};

use crate::bytes::timestamp;

/// A report for a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paper {
    /// What it is.
    pub title: String,
    /// Stands on every page.
    pub footer: String,
    /// What it says in a few words. Empty: nothing.
    pub summary: String,
    /// Its sections, in order.
    pub sections: Vec<Section>,
}

/// Rows that belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// What they are about.
    pub title: String,
    /// The rows, in order.
    pub rows: Vec<Row>,
}

/// One thing that is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What is said.
    pub value: String,
    /// What it was read from. Empty: the report itself.
    pub reference: String,
}

/// Figures that are microseconds since 1970.
const TIMES: [&str; 6] = [
    "created_at",
    "violated_at",
    "detected_at",
    "resolved_at",
    "compliance_period_start",
    "compliance_period_end",
];
/// What stands where there is nothing.
const NOTHING: &str = "—";

/// The page of `export::executive` as a person reads it.
#[must_use]
pub fn executive_paper(page: &Value) -> Paper {
    let empty = Map::new();
    let page = page.as_object().unwrap_or(&empty);
    let (mut head, mut sections) = (Section::titled("export"), Vec::new());
    for (name, value) in page {
        match (name.as_str(), value) {
            ("summary", _) => {}
            ("sources", Value::Object(sources)) => sections.push(asked(sources)),
            ("missing", _) => {
                let said = Row { name: name.clone(), value: text(name, value), reference: String::new() };
                sections.push(Section { title: "not known".to_owned(), rows: vec![said] });
            }
            (_, Value::Object(figures)) => sections.push(figured(name, figures)),
            _ => head.say(name, value),
        }
    }
    sections.insert(0, head);
    Paper {
        title: "Executive summary".to_owned(),
        footer: footer(page.get("bundle_id")),
        summary: page.get("summary").and_then(Value::as_str).unwrap_or_default().to_owned(),
        sections,
    }
}

/// The fields of a SOC 2 report as a person reads them.
#[must_use]
pub fn report_paper(fields: &BTreeMap<String, Value>) -> Paper {
    let (mut report, mut controls) = (Section::titled("report"), Section::titled("controls"));
    for (name, value) in fields {
        match (name.as_str(), value) {
            ("attestation_statement", _) => {}
            ("control_mappings", Value::Array(mapped)) => {
                for control in mapped {
                    controls.say(control["control"].as_str().unwrap_or(NOTHING), &control["status"]);
                }
            }
            _ => report.say(name, value),
        }
    }
    Paper {
        title: "SOC 2 report".to_owned(),
        footer: footer(fields.get("bundle_id")),
        summary: fields.get("attestation_statement").map(|said| text("", said)).unwrap_or_default(),
        sections: vec![controls, report],
    }
}

impl Section {
    fn titled(title: &str) -> Self {
        Self { title: title.to_owned(), rows: Vec::new() }
    }

    fn say(&mut self, name: &str, value: &Value) {
        let row = Row { name: name.to_owned(), value: text(name, value), reference: String::new() };
        self.rows.push(row);
    }
}

fn footer(id: Option<&Value>) -> String {
    format!("Runspine export {}", id.map(|id| text("", id)).unwrap_or_default())
}

fn figured(title: &str, figures: &Map<String, Value>) -> Section {
    let row = |(name, figure): (&String, &Value)| Row {
        name: name.clone(),
        value: text(name, &figure["value"]),
        reference: figure["reference"].as_str().unwrap_or_default().to_owned(),
    };
    Section { title: title.to_owned(), rows: figures.iter().map(row).collect() }
}

/// Which domains were asked, and what became of it.
fn asked(sources: &Map<String, Value>) -> Section {
    let row = |(name, stands): (&String, &Value)| {
        let word = |part: &str| stands[part].as_str().unwrap_or_default().to_owned();
        Row {
            name: name.clone(),
            value: format!("{} {}", word("status"), word("reason")),
            reference: String::new(),
        }
    };
    Section { title: "sources".to_owned(), rows: sources.iter().map(row).collect() }
}

fn text(name: &str, value: &Value) -> String {
    match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(said) if said.is_empty() => NOTHING.to_owned(),
        Value::String(said) => said.clone(),
        Value::Array(items) if items.is_empty() => NOTHING.to_owned(),
        Value::Array(items) => items.iter().map(|item| text("", item)).collect::<Vec<_>>().join(", "),
        Value::Number(at) if TIMES.contains(&name) => {
            at.as_i64().map_or_else(|| at.to_string(), |at| timestamp(Micros(at)).to_string())
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_on_the_page_is_on_the_paper() {
        let page = json!({
            "bundle_id": "ex-1", "created_at": 1_767_323_045_000_000_i64, "summary": "It failed.",
            "risk": {"risk_level": {"value": "HIGH", "reference": "a.v1.S/Get"}},
            "violation": {"policy_violated": {"value": ["A", "B"], "reference": "b.v1.S/Get"}},
            "sources": {"policies": {"status": "TIMEOUT", "reason": "DEADLINE_EXCEEDED"}},
            "missing": ["freeze_count"],
        });
        let paper = executive_paper(&page);
        assert_eq!((paper.summary.as_str(), paper.footer.as_str()), ("It failed.", "Runspine export ex-1"));
        let said: Vec<(&str, &str, &str, &str)> = paper
            .sections
            .iter()
            .flat_map(|s| s.rows.iter().map(|r| (&*s.title, &*r.name, &*r.value, &*r.reference)))
            .collect();
        let expected = [
            ("export", "bundle_id", "ex-1", ""),
            ("export", "created_at", "2026-01-02T03:04:05Z", ""),
            ("risk", "risk_level", "HIGH", "a.v1.S/Get"),
            ("violation", "policy_violated", "A, B", "b.v1.S/Get"),
            ("sources", "policies", "TIMEOUT DEADLINE_EXCEEDED", ""),
            ("not known", "missing", "freeze_count", ""),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_report_attests_first_and_lists_its_controls() {
        let fields = [
            ("bundle_id", json!("ex-2")),
            ("attestation_statement", json!("Verified.")),
            ("control_mappings", json!([{"control": "CC7.1", "status": "PARTIAL"}])),
            ("violation_step_index", Value::Null),
        ];
        let paper = report_paper(&fields.map(|(name, value)| (name.to_owned(), value)).into());
        assert_eq!(paper.summary, "Verified.");
        let rows: Vec<_> =
            paper.sections.iter().flat_map(|s| &s.rows).map(|r| (&*r.name, &*r.value)).collect();
        assert_eq!(rows, [("CC7.1", "PARTIAL"), ("bundle_id", "ex-2"), ("violation_step_index", "—")]);
    }
}
