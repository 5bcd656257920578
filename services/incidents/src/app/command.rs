//! What people do to an incident: read it, compare its version, change it, keep the answer; one transaction.

use bytes::Bytes;
use contracts_incidents::v1 as pb;
use prost::Message;
use runspine_db::{KeptAnswer, Replayed, Tx};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_incidents_domain::{
    CloseReason, ResolutionMethod, ResolutionType, Severity,
    incident::{Entries, Incident},
    reasons,
};
use runspine_types::{Digest, Micros};

use super::{Act, App, contended, emit};
use crate::{
    rpc::present,
    store::{history, incidents},
};

/// What to do.
#[derive(Debug, Clone)]
pub enum Command {
    /// Take it.
    Acknowledge {
        /// What to say about it.
        note: String,
    },
    /// End it with a resolution.
    Resolve {
        /// How it ended and what that means.
        resolution: (ResolutionMethod, ResolutionType),
        /// What was done.
        summary: String,
    },
    /// End it without one.
    Close {
        /// Why.
        reason: CloseReason,
        /// What to say about it.
        note: String,
    },
    /// Make it active again.
    Reopen {
        /// Why.
        reason: String,
    },
    /// Raise its severity.
    Raise {
        /// The new severity.
        severity: Severity,
        /// Why.
        reason: String,
    },
    /// Give it to somebody.
    Assign {
        /// Who; empty: nobody.
        assignee: String,
    },
    /// Add a note.
    Note {
        /// The note.
        text: String,
    },
}

impl Command {
    /// The operation that keeps the answer.
    const fn operation(&self) -> &'static str {
        match self {
            Self::Acknowledge { .. } => "runspine.incidents.v1.IncidentService/AcknowledgeIncident",
            Self::Resolve { .. } => "runspine.incidents.v1.IncidentService/ResolveIncident",
            Self::Close { .. } => "runspine.incidents.v1.IncidentService/CloseIncident",
            Self::Reopen { .. } => "runspine.incidents.v1.IncidentService/ReopenIncident",
            Self::Raise { .. } => "runspine.incidents.v1.IncidentService/RaiseSeverity",
            Self::Assign { .. } => "runspine.incidents.v1.IncidentService/AssignIncident",
            Self::Note { .. } => "runspine.incidents.v1.IncidentService/AddNote",
        }
    }

    fn apply(&self, incident: &mut Incident, by: &str, now: Micros) -> Outcome<Entries> {
        match self {
            Self::Acknowledge { note } => incident.acknowledge(by, note, now),
            Self::Resolve { resolution, summary } => incident.resolve(by, *resolution, summary, now),
            Self::Close { reason, note } => incident.close(by, *reason, note, now),
            Self::Reopen { reason } => incident.reopen(reason, now),
            Self::Raise { severity, reason } => incident.raise(*severity, reason, now),
            Self::Assign { assignee } => incident.assign(assignee, now),
            Self::Note { text } => incident.note(text, now),
        }
    }

    /// Whether the command asks for what already is, so that the version does not matter.
    fn is_done(&self, incident: &Incident, by: &str) -> bool {
        matches!(self, Self::Acknowledge { .. }) && incident.is_acknowledged_by(by)
    }
}

/// A command on one incident.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which incident.
    pub incident_id: String,
    /// The version that the caller saw.
    pub expected_version: i64,
    /// Id of the call.
    pub request_id: String,
    /// Digest of the request.
    pub digest: Digest,
    /// What to do.
    pub command: Command,
}

impl App {
    /// Does what an order says and answers with the incident after it.
    ///
    /// # Errors
    /// `INCIDENT_NOT_FOUND`, `VERSION_MOVED`, `INVALID_TRANSITION`, `SEVERITY_ONLY_RISES`, `IDEMPOTENCY_MISMATCH`, or
    /// that the store can't be written.
    pub async fn command(&self, act: Act, order: Order) -> Outcome<pb::Incident> {
        self.db
            .write("change_incident", move |tx| Box::pin(async move { decide(tx, &act, &order).await }))
            .await
    }
}

async fn decide(tx: &mut Tx, act: &Act, order: &Order) -> Outcome<pb::Incident> {
    let operation = order.command.operation();
    if let Some(first) = replayed(tx, act, operation, &order.request_id, order.digest).await? {
        return Ok(first);
    }
    let found = incidents::find(tx, &act.tenant, &order.incident_id).await?;
    let mut incident = found.ok_or_else(|| not_found(&order.incident_id))?;
    if !order.command.is_done(&incident, &act.actor_id) {
        incident.expect_version(order.expected_version)?;
    }
    let (before, from) = (incident.subject.severity, incident.version);
    let entries = order.command.apply(&mut incident, &act.actor_id, act.now)?;
    if !entries.is_empty() {
        incident.event_count += i64::try_from(entries.len()).unwrap_or(0);
        if !incidents::update(tx, &incident, from).await? {
            return Err(contended());
        }
        history::append(tx, act, &incident, &entries).await?;
        emit::entries(tx, act, before, &incident, &entries, None);
    }
    keep(tx, act, operation, &order.request_id, order.digest, &incident).await
}

/// The answer that was given to this call before.
pub(super) async fn replayed(
    tx: &mut Tx,
    act: &Act,
    operation: &str,
    request_id: &str,
    digest: Digest,
) -> Outcome<Option<pb::Incident>> {
    match tx.replay(&act.tenant, operation, request_id, digest).await? {
        Replayed::Fresh => Ok(None),
        Replayed::Replay(answer) => decode(answer).map(Some),
    }
}

/// Keeps the incident as the answer to this call.
pub(super) async fn keep(
    tx: &mut Tx,
    act: &Act,
    operation: &str,
    request_id: &str,
    request_digest: Digest,
    incident: &Incident,
) -> Outcome<pb::Incident> {
    let message = present::incident(incident);
    tx.keep_answer(KeptAnswer {
        tenant: act.tenant.clone(),
        operation: operation.to_owned(),
        key: request_id.to_owned(),
        request_digest,
        answer: message.encode_to_vec().into(),
        at: act.now,
    })
    .await?;
    Ok(message)
}

fn decode(answer: Bytes) -> Outcome<pb::Incident> {
    pb::Incident::decode(answer)
        .map_err(|error| Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(error))
}

/// No such incident for this tenant.
pub(super) fn not_found(incident_id: &str) -> Fault {
    Fault::new(&reasons::INCIDENT_NOT_FOUND, "no such incident").with("incident_id", incident_id)
}
