//! What a person reads of a domain's answer: each figure names the operation that it was read from.

use contracts_activity::v1::GetRunViewResponse;
use contracts_controls::v1::GetRunControlsEvidenceResponse;
use contracts_incidents::v1::{Incident, IncidentExportPart, IncidentStatus, ListRunIncidentsResponse};
use contracts_logs::v1::ExportFigure;
use contracts_policies::v1::GetRunPolicyEvidenceResponse;
use prost_types::Timestamp;
use runspine_rpc::micros;
use runspine_types::Digest;
use serde_json::{Value, json};

fn figures<const N: usize>(reference: &str, named: [(&str, Value); N]) -> Vec<ExportFigure> {
    let figure = |(name, value): (&str, Value)| ExportFigure {
        name: name.to_owned(),
        value: value.to_string(),
        reference: reference.to_owned(),
    };
    named.into_iter().map(figure).collect()
}

/// Microseconds since 1970, or nothing.
fn at(time: Option<&Timestamp>) -> Value {
    time.map_or(Value::Null, |time| micros(time).0.into())
}

fn word(name: &str, prefix: &str) -> Value {
    name.trim_start_matches(prefix).into()
}

/// What activity says: of several runs the highest risk stands for all.
pub fn of_runs(views: &[GetRunViewResponse]) -> Vec<ExportFigure> {
    let runs: Vec<_> = views.iter().filter_map(|view| view.run.as_ref()).collect();
    let riskiest = runs.iter().map(|run| run.risk_level()).max();
    let agents = said(runs.iter().filter_map(|run| run.attributes.as_ref()).map(|a| a.agent_id.as_str()));
    let statuses = said(runs.iter().map(|run| run.status().as_str_name().trim_start_matches("RUN_STATUS_")));
    let named = [
        ("agent_id", agents),
        ("attempt_count", json!(views.iter().map(|view| view.attempts.len()).sum::<usize>())),
        ("risk_level", riskiest.map_or(Value::Null, |level| word(level.as_str_name(), "RISK_LEVEL_"))),
        ("run_status", statuses),
    ];
    figures("runspine.activity.v1.RunQueryService/GetRunView", named)
}

/// Each word once: a text when there is one, else a list.
fn said<'a>(words: impl Iterator<Item = &'a str>) -> Value {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    words.dedup();
    if let [one] = words.as_slice() { json!(one) } else { json!(words) }
}

/// What incidents say: of several the worst stands for all, of equals the first.
pub fn of_incidents(found: &ListRunIncidentsResponse) -> Vec<ExportFigure> {
    figures("runspine.incidents.v1.IncidentService/ListRunIncidents", worst(found))
}

/// What was frozen of one incident, under `digest`.
pub fn of_frozen(part: &IncidentExportPart, digest: &[u8]) -> Vec<ExportFigure> {
    const FROM: &str = "runspine.incidents.v1.IncidentExportService/GetIncidentExport";
    let incident = part.incident.clone().unwrap_or_default();
    let named = [
        ("incident_category", word(incident.category().as_str_name(), "CATEGORY_")),
        ("incident_part_digest", json!(Digest::from_slice(digest).map(Digest::to_hex))),
    ];
    let found = ListRunIncidentsResponse { incidents: vec![incident], ..ListRunIncidentsResponse::default() };
    figures(FROM, worst(&found)).into_iter().chain(figures(FROM, named)).collect()
}

fn worst(found: &ListRunIncidentsResponse) -> [(&'static str, Value); 10] {
    let live: Vec<&Incident> =
        found.incidents.iter().filter(|i| i.status() != IncidentStatus::Voided).collect();
    let worst = live.iter().rev().max_by_key(|i| i.severity).copied();
    let first = live.iter().filter_map(|i| i.opened_at.as_ref()).min_by_key(|at| micros(at));
    [
        ("incident_id", json!(worst.map(|i| &i.incident_id))),
        ("incident_count", json!(live.len())),
        ("incident_severity", worst.map_or(Value::Null, |i| word(i.severity().as_str_name(), "SEVERITY_"))),
        (
            "incident_status",
            worst.map_or(Value::Null, |i| word(i.status().as_str_name(), "INCIDENT_STATUS_")),
        ),
        ("occurrence_count", json!(live.iter().map(|i| i.occurrence_count).sum::<i64>())),
        ("cost_impact_microusd", json!(live.iter().map(|i| i.cost_impact_microusd).sum::<i64>())),
        ("detected_at", at(first)),
        ("resolved_at", at(worst.and_then(|i| i.resolved_at.as_ref()))),
        ("resolution_summary", json!(worst.map(|i| &i.resolution_summary))),
        ("violation_step_index", json!(worst.and_then(|i| i.source_step_index))),
    ]
}

/// What policies say, of one attempt or of several together.
pub fn of_rules(found: &[GetRunPolicyEvidenceResponse]) -> Vec<ExportFigure> {
    let violations = || found.iter().flat_map(|one| &one.violations);
    let mut codes: Vec<&str> = violations().map(|v| v.rule_code.as_str()).collect();
    codes.sort_unstable();
    codes.dedup();
    let first = violations().filter_map(|v| v.detected_at.as_ref()).min_by_key(|at| micros(at));
    let denied = found.iter().filter_map(|one| one.counts.as_ref()).map(|counts| counts.deny);
    let named = [
        ("policy_violated", json!(codes)),
        ("violation_count", json!(violations().count())),
        ("denied_count", json!(denied.sum::<u32>())),
        ("violated_at", at(first)),
    ];
    figures("runspine.policies.v1.DecisionService/GetRunPolicyEvidence", named)
}

/// What controls say, of one attempt or of several together.
pub fn of_limits(found: &[GetRunControlsEvidenceResponse]) -> Vec<ExportFigure> {
    // A freeze that held several attempts is one freeze.
    let mut freezes: Vec<&str> =
        found.iter().flat_map(|one| &one.freezes).map(|freeze| freeze.freeze_id.as_str()).collect();
    freezes.sort_unstable();
    freezes.dedup();
    let named = [
        ("breach_count", json!(found.iter().map(|one| one.breaches.len()).sum::<usize>())),
        ("freeze_count", json!(freezes.len())),
        ("admission_denied_count", json!(found.iter().map(|one| one.denied_count).sum::<i64>())),
        ("late_charge_count", json!(found.iter().map(|one| one.late_charge_count).sum::<i64>())),
    ];
    figures("runspine.controls.v1.SignalService/GetRunControlsEvidence", named)
}

#[cfg(test)]
mod tests {
    use contracts_incidents::v1::Severity;

    use super::*;

    fn incident(id: &str, severity: Severity, status: IncidentStatus, opened: i64) -> Incident {
        Incident {
            incident_id: id.into(),
            severity: severity.into(),
            status: status.into(),
            opened_at: Some(Timestamp { seconds: opened, nanos: 0 }),
            occurrence_count: 2,
            ..Incident::default()
        }
    }

    #[test]
    fn the_worst_incident_stands_for_all_and_a_voided_one_for_none() {
        use IncidentStatus::{Acknowledged, Open, Voided};
        let found = ListRunIncidentsResponse {
            incidents: vec![
                incident("low", Severity::Low, Open, 5),
                incident("first", Severity::High, Acknowledged, 7),
                incident("second", Severity::High, Open, 9),
                incident("void", Severity::Critical, Voided, 1),
            ],
            ..Default::default()
        };
        let value = |found: &ListRunIncidentsResponse, name: &str| {
            let figure = of_incidents(found).into_iter().find(|figure| figure.name == name).unwrap();
            serde_json::from_str::<Value>(&figure.value).unwrap()
        };
        assert_eq!(value(&found, "incident_id"), "first");
        assert_eq!(value(&found, "incident_status"), "ACKNOWLEDGED");
        assert_eq!(
            (value(&found, "incident_count"), value(&found, "occurrence_count")),
            (json!(3), json!(6))
        );
        assert_eq!(value(&found, "detected_at"), 5_000_000);
        let none = ListRunIncidentsResponse::default();
        assert_eq!((value(&none, "incident_id"), value(&none, "incident_count")), (Value::Null, json!(0)));
    }
}
