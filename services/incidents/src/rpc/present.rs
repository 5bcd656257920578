//! Results as messages.

use contracts_common::common::v1::Actor;
use contracts_incidents::v1 as pb;
use prost::Message as _;
use prost_types::Timestamp;
use runspine_errors::{Fault, Outcome, mesh};
use runspine_incidents_domain::{Disposition, incident::Incident};
use runspine_rpc::timestamp;
use runspine_types::Micros;

use crate::{
    app::{Detail, FactAnswer, OutcomeAnswer, ViolationAnswer},
    store::{
        exports::{EvidenceRow, ExportRow},
        history::{EventRow, LinkRow},
        occurrences::OccurrenceRow,
        outcomes::OutcomeRow,
    },
};

fn time(at: Option<Micros>) -> Option<Timestamp> {
    at.map(timestamp)
}

/// An incident.
#[must_use]
pub fn incident(i: &Incident) -> pb::Incident {
    let s = i.subject.clone();
    let ending = i.ending.as_ref();
    let resolution = ending.and_then(|e| e.resolution);
    pb::Incident {
        incident_id: i.id.clone(),
        seq: i.seq,
        project_id: s.project_id,
        title: s.title,
        description: s.description,
        severity: s.severity.code(),
        category: s.category.code(),
        trigger_type: s.trigger.code(),
        source: s.source.code(),
        cause_type: s.cause_type.code(),
        cause_code: s.cause_code,
        status: i.status.code(),
        topic: i.status.topic().code(),
        version: i.version,
        dedup_key: i.dedup_key.clone(),
        source_run_id: i.source_run_id.clone(),
        source_attempt: i.source_attempt,
        source_step_index: i.source_step_index,
        affected_agent_id: s.agent_id,
        rule_id: s.rule_id,
        scope_id: s.scope_id,
        occurrence_count: i.occurrence_count,
        cost_impact_microusd: i.cost_impact_microusd,
        error_message: s.error_message,
        opened_at: Some(timestamp(i.opened_at)),
        last_occurrence_at: Some(timestamp(i.last_occurrence_at)),
        acknowledged_at: time(i.acknowledged_at),
        acknowledged_by: i.acknowledged_by.clone(),
        resolved_at: ending.map(|e| timestamp(e.at)),
        resolved_by: ending.map(|e| e.by.clone()).unwrap_or_default(),
        resolution_method: resolution.map_or(0, |(method, _)| method.code()),
        resolution_type: resolution.map_or(0, |(_, kind)| kind.code()),
        resolution_summary: ending.map(|e| e.summary.clone()).unwrap_or_default(),
        closed_reason: ending.and_then(|e| e.closed_reason).map_or(0, |reason| reason.code()),
        assignee: i.assignee.clone(),
        recurrence_signature: i.recurrence_signature.clone(),
        is_synthetic: s.synthetic,
        synthetic_scenario_id: s.synthetic_scenario_id,
        aware_at: time(s.aware_at),
        updated_at: Some(timestamp(i.updated_at)),
    }
}

/// The answer to a report of an attempt.
#[must_use]
pub fn outcome_answer(row: OutcomeAnswer) -> pb::ReportRunOutcomeResponse {
    pb::ReportRunOutcomeResponse {
        disposition: row.disposition,
        incident_id: row.incident_id,
        occurrence_id: row.occurrence_id,
        severity: row.severity.unwrap_or_default(),
        category: row.category.unwrap_or_default(),
        prevention_id: row.prevention_id,
        cause_code: row.cause_code,
    }
}

/// The answer to a report of a fact.
#[must_use]
pub fn fact_answer(row: FactAnswer) -> pb::ReportIncidentResponse {
    // The overflow incident may be older than this report, so only OPENED says that it was created.
    let created = row.disposition == Disposition::Opened.code();
    pb::ReportIncidentResponse {
        disposition: row.disposition,
        incident_id: row.incident_id,
        created,
        occurrence_id: row.occurrence_id,
        severity: row.severity,
    }
}

/// The answer to a violation.
#[must_use]
pub fn violation_answer(answer: ViolationAnswer) -> pb::OpenViolationIncidentResponse {
    pb::OpenViolationIncidentResponse {
        incident_id: answer.incident_id,
        evidence_ids: answer.evidence_ids,
        existing: answer.existing,
        severity: answer.severity,
    }
}

/// An incident with what hangs on it.
#[must_use]
pub fn detail(detail: Detail) -> pb::GetIncidentResponse {
    let i = &detail.incident;
    pb::GetIncidentResponse {
        time_to_acknowledge_ms: i.acknowledged_at.map(|at| at.millis_since(i.opened_at)),
        time_to_resolve_ms: i.ending.as_ref().map(|ending| ending.at.millis_since(i.opened_at)),
        event_count: i.event_count,
        evidence_count: detail.evidence_count,
        links: detail.links.into_iter().map(link).collect(),
        run_ids: detail.run_ids,
        incident: Some(incident(i)),
    }
}

/// An entry of a history.
#[must_use]
pub fn event(row: EventRow) -> pb::IncidentEvent {
    pb::IncidentEvent {
        seq: row.seq,
        kind: row.kind,
        status: row.status,
        severity: row.severity,
        version: row.version,
        actor: Some(Actor { r#type: row.actor_type, id: row.actor_id }),
        at: Some(timestamp(row.at)),
        note: row.note,
        occurrence_id: row.occurrence_id,
        run_id: row.run_id,
    }
}

/// An occurrence.
#[must_use]
pub fn occurrence(row: OccurrenceRow) -> pb::Occurrence {
    pb::Occurrence {
        occurrence_id: row.id,
        incident_id: row.incident_id,
        run_id: row.run_id,
        attempt: row.attempt,
        cause_code: row.cause_code,
        step_index: row.step_index,
        tool_name: row.tool_name,
        occurred_at: Some(timestamp(row.occurred_at)),
        recorded_at: Some(timestamp(row.recorded_at)),
        cost_microusd: row.cost_microusd,
        overflow: row.overflow,
        voided: row.voided,
    }
}

/// What became of an attempt.
#[must_use]
pub fn outcome(row: OutcomeRow) -> pb::RunOutcome {
    pb::RunOutcome {
        attempt: row.attempt,
        status: row.status,
        disposition: row.disposition,
        incident_id: row.incident_id,
        occurrence_id: row.occurrence_id,
        prevention_id: row.prevention_id,
        cause_code: row.cause_code,
        severity: row.severity.unwrap_or_default(),
        category: row.category.unwrap_or_default(),
        recorded_at: Some(timestamp(row.recorded_at)),
    }
}

/// A link.
#[must_use]
pub fn link(row: LinkRow) -> pb::IncidentLink {
    pb::IncidentLink {
        link_type: row.link_type,
        target_id: row.target_id,
        reason: row.reason,
        at: Some(timestamp(row.at)),
    }
}

/// A piece of evidence.
#[must_use]
pub fn evidence(row: EvidenceRow) -> pb::Evidence {
    pb::Evidence {
        kind: row.kind,
        rule_id: row.rule_id,
        value: row.value,
        condition: row.condition,
        digest: row.digest,
        step_index: row.step_index,
        trace_position: row.trace_position,
        trace_link: row.trace_link,
    }
}

/// An export as it stands.
///
/// # Errors
/// When it can't be read.
pub fn export(row: ExportRow) -> Outcome<pb::IncidentExport> {
    let frozen = pb::IncidentExport::decode(row.export)
        .map_err(|error| Fault::new(&mesh::INTERNAL, "an export can't be read").caused_by(error))?;
    let Some(state) = row.state else { return Ok(frozen) };
    let missing = row.missing.unwrap_or_default();
    Ok(pb::IncidentExport {
        state,
        content_export_id: row.content_export_id.unwrap_or_default(),
        content_digest: row.content_digest.unwrap_or_default(),
        content_size: row.content_size.unwrap_or_default(),
        failure_reason: row.reason.unwrap_or_default(),
        missing: missing.lines().map(str::to_owned).collect(),
        concluded_at: time(row.at),
        ..frozen
    })
}
