//! From history entries to outbox events.

use contracts_common::common::v1::{Actor, EventEnvelope};
use contracts_incidents::v1 as pb;
use prost::Message;
use prost_types::Timestamp;
use runspine_db::Tx;
use runspine_events::Emit as _;
use runspine_incidents_domain::{
    EventKind, Severity, Status,
    incident::{Entry, Incident},
    outcome::Occurrence,
};
use runspine_types::new_id;

use super::Act;

/// An event message with the name that its contract says.
trait Event: Message {
    const NAME: &'static str;
}

macro_rules! events {
    ($($name:ident),* $(,)?) => {
        $(impl Event for pb::$name {
            const NAME: &'static str = stringify!($name);
        })*
    };
}

events! {
    IncidentOpened, IncidentLinked, IncidentVoided, SeverityRaised, IncidentAcknowledged, IncidentResolved,
    IncidentClosed, IncidentReopened, IncidentAssigned, IncidentExported,
}

/// Adds the events that `entries` stand for. `before` is the severity before the change.
pub fn entries(
    tx: &mut Tx,
    act: &Act,
    before: Severity,
    incident: &Incident,
    entries: &[Entry],
    about: Option<&Occurrence>,
) {
    let run_id = about.map_or(incident.source_run_id.as_str(), |o| o.run_id.as_str());
    for entry in entries {
        match entry.kind {
            EventKind::Opened => {
                send(tx, act, incident, about, "", &opened(incident));
                linked(tx, act, incident, about, true);
            }
            EventKind::Joined => linked(tx, act, incident, about, false),
            EventKind::Flapped => {
                send(tx, act, incident, about, "", &reopened(incident, run_id, true));
                linked(tx, act, incident, about, false);
            }
            EventKind::Reopened => {
                send(tx, act, incident, about, &entry.note, &reopened(incident, run_id, false));
            }
            EventKind::SeverityRaised => {
                send(tx, act, incident, about, &entry.note, &raised(incident, before, entry, run_id));
            }
            EventKind::Acknowledged => {
                let event = pb::IncidentAcknowledged {
                    incident_id: incident.id.clone(),
                    acknowledged_by: incident.acknowledged_by.clone(),
                    version: incident.version,
                    run_id: run_id.to_owned(),
                };
                send(tx, act, incident, about, &entry.note, &event);
            }
            EventKind::Resolved | EventKind::AutoResolved => {
                send(tx, act, incident, about, &entry.note, &resolved(incident, run_id));
            }
            EventKind::Closed => send(tx, act, incident, about, &entry.note, &closed(incident, run_id)),
            EventKind::Voided => voided(tx, act, incident, entry, about),
            EventKind::Assigned => {
                let event = pb::IncidentAssigned {
                    incident_id: incident.id.clone(),
                    assignee: incident.assignee.clone(),
                    version: incident.version,
                    run_id: run_id.to_owned(),
                };
                send(tx, act, incident, about, "", &event);
            }
            // History only: nobody outside reacts to these.
            EventKind::Note | EventKind::EvidenceCaptured | EventKind::Linked => {}
        }
    }
}

fn opened(i: &Incident) -> pb::IncidentOpened {
    pb::IncidentOpened {
        incident_id: i.id.clone(),
        severity: i.subject.severity.code(),
        category: i.subject.category.code(),
        trigger_type: i.subject.trigger.code(),
        cause_code: i.subject.cause_code.clone(),
        agent_id: i.subject.agent_id.clone(),
        run_id: i.source_run_id.clone(),
        attempt: i.source_attempt,
        title: i.subject.title.clone(),
        recurrence_signature: i.recurrence_signature.clone(),
        is_synthetic: i.subject.synthetic,
    }
}

/// An attempt was linked to the incident.
pub fn linked(tx: &mut Tx, act: &Act, incident: &Incident, about: Option<&Occurrence>, opened: bool) {
    let Some(occurrence) = about.filter(|o| !o.run_id.is_empty()) else {
        return;
    };
    let event = pb::IncidentLinked {
        incident_id: incident.id.clone(),
        occurrence_id: occurrence.id.clone(),
        run_id: occurrence.run_id.clone(),
        attempt: occurrence.attempt,
        cause_code: occurrence.cause_code.clone(),
        severity: incident.subject.severity.code(),
        occurrence_count: incident.occurrence_count,
        opened,
    };
    send(tx, act, incident, about, "", &event);
}

/// An export of the incident was made.
pub fn exported(tx: &mut Tx, act: &Act, incident: &Incident, export: &pb::IncidentExport) {
    let event = pb::IncidentExported {
        incident_id: incident.id.clone(),
        export_id: export.export_id.clone(),
        content_export_id: export.content_export_id.clone(),
        content_digest: export.content_digest.clone(),
        part_digest: export.part_digest.clone(),
        run_id: incident.source_run_id.clone(),
    };
    send(tx, act, incident, None, &export.reason, &event);
}

fn reopened(i: &Incident, run_id: &str, flapped: bool) -> pb::IncidentReopened {
    pb::IncidentReopened {
        incident_id: i.id.clone(),
        flapped,
        version: i.version,
        run_id: run_id.to_owned(),
        severity: i.subject.severity.code(),
    }
}

fn raised(i: &Incident, before: Severity, entry: &Entry, run_id: &str) -> pb::SeverityRaised {
    pb::SeverityRaised {
        incident_id: i.id.clone(),
        previous: before.code(),
        severity: entry.severity.code(),
        reason: entry.note.clone(),
        version: i.version,
        run_id: run_id.to_owned(),
    }
}

fn resolved(i: &Incident, run_id: &str) -> pb::IncidentResolved {
    let resolution = i.ending.as_ref().and_then(|e| e.resolution);
    pb::IncidentResolved {
        incident_id: i.id.clone(),
        resolution_method: resolution.map_or(0, |(method, _)| method.code()),
        resolution_type: resolution.map_or(0, |(_, kind)| kind.code()),
        version: i.version,
        run_id: run_id.to_owned(),
        severity: i.subject.severity.code(),
        recurrence_signature: i.recurrence_signature.clone(),
    }
}

fn closed(i: &Incident, run_id: &str) -> pb::IncidentClosed {
    let reason = i.ending.as_ref().and_then(|e| e.closed_reason);
    pb::IncidentClosed {
        incident_id: i.id.clone(),
        reason: reason.map_or(0, |r| r.code()),
        version: i.version,
        run_id: run_id.to_owned(),
    }
}

fn voided(tx: &mut Tx, act: &Act, incident: &Incident, entry: &Entry, about: Option<&Occurrence>) {
    let Some(occurrence) = about else {
        return;
    };
    let event = pb::IncidentVoided {
        incident_id: incident.id.clone(),
        occurrence_id: occurrence.id.clone(),
        run_id: occurrence.run_id.clone(),
        attempt: occurrence.attempt,
        cause_code: occurrence.cause_code.clone(),
        incident_voided: incident.status == Status::Voided,
        version: incident.version,
    };
    send(tx, act, incident, about, &entry.note, &event);
}

fn send<M: Event>(
    tx: &mut Tx,
    act: &Act,
    incident: &Incident,
    about: Option<&Occurrence>,
    reason: &str,
    message: &M,
) {
    let (seconds, nanos) = act.now.to_timestamp();
    let envelope = EventEnvelope {
        id: new_id(),
        r#type: format!("incidents.{}", M::NAME),
        source: "incidents".to_owned(),
        subject: incident.id.clone(),
        time: Some(Timestamp { seconds, nanos }),
        schema_version: "1.0.0".to_owned(),
        tenant_id: act.tenant.clone(),
        project_id: incident.subject.project_id.clone(),
        run_id: about.map_or_else(|| incident.source_run_id.clone(), |o| o.run_id.clone()),
        attempt: about.map_or(incident.source_attempt, |o| o.attempt),
        step_index: about.map_or(incident.source_step_index, |o| o.step_index),
        actor: Some(Actor { r#type: act.actor_type, id: act.actor_id.clone() }),
        entity_type: "incident".to_owned(),
        entity_id: incident.id.clone(),
        reason: reason.to_owned(),
        correlation_id: act.correlation_id.clone(),
        causation_id: act.causation_id.clone(),
        config_digest: act.config_digest.clone(),
        data_type: format!("runspine.incidents.v1.{}", M::NAME),
        data: message.encode_to_vec().into(),
        ..EventEnvelope::default()
    };
    tx.emit(&envelope);
}
