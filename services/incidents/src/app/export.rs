//! Exports of incidents: what is known is frozen once, and how the export ended is kept beside it.

use bytes::Bytes;
use contracts_incidents::v1 as pb;
use prost::Message;
use runspine_db::{KeptAnswer, Replayed, Tx};
use runspine_errors::{Fault, Outcome, mesh};
use runspine_incidents_domain::{
    LinkType,
    export::{ExportKind, MOST_ROWS, attempts, bounded},
    incident::Incident,
    reasons,
};
use runspine_rpc::timestamp;
use runspine_types::{Digest, hash};

use super::{Act, App, command::not_found, emit};
use crate::{
    rpc::present,
    store::{
        exports::{self, End, ExportRow},
        history, incidents, occurrences,
    },
};

const PREPARE: &str = "runspine.incidents.v1.IncidentExportService/PrepareExport";

/// What is to be frozen.
#[derive(Debug, Clone)]
pub struct NewExport {
    /// Id of the export: the key of the call.
    pub export_id: String,
    /// The incident.
    pub incident_id: String,
    /// What it is for.
    pub kind: ExportKind,
    /// Why.
    pub reason: String,
    /// Digest of the request.
    pub digest: Digest,
}

/// How an export is to end.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The export: the key of the call.
    pub export_id: String,
    /// The operation that keeps the answer.
    pub operation: &'static str,
    /// How.
    pub end: End,
    /// Digest of the request.
    pub digest: Digest,
}

impl App {
    /// Freezes what is known of an incident.
    ///
    /// # Errors
    /// `INCIDENT_NOT_FOUND`, `EXPORT_TOO_LARGE`, `IDEMPOTENCY_MISMATCH`, or that the store can't be written.
    pub async fn prepare_export(&self, act: Act, new: NewExport) -> Outcome<pb::IncidentExport> {
        self.db
            .write("prepare_export", move |tx| {
                Box::pin(async move {
                    let key = (PREPARE, new.export_id.as_str(), new.digest);
                    if let Some(first) = replayed(tx, &act, key).await? {
                        return Ok(first);
                    }
                    let export = prepare(tx, &act, &new).await?;
                    keep(tx, &act, key, export).await
                })
            })
            .await
    }

    /// Ends an export.
    ///
    /// # Errors
    /// `EXPORT_NOT_FOUND`, `INVALID_TRANSITION` when it has ended otherwise, `IDEMPOTENCY_MISMATCH`, or that the store
    /// can't be written.
    pub async fn end_export(&self, act: Act, ending: Ending) -> Outcome<pb::IncidentExport> {
        self.db
            .write("end_export", move |tx| {
                Box::pin(async move {
                    let key = (ending.operation, ending.export_id.as_str(), ending.digest);
                    if let Some(first) = replayed(tx, &act, key).await? {
                        return Ok(first);
                    }
                    let export = end(tx, &act, &ending).await?;
                    keep(tx, &act, key, export).await
                })
            })
            .await
    }

    /// One export and what was frozen for it.
    ///
    /// # Errors
    /// `EXPORT_NOT_FOUND`, or that the store can't be read.
    pub async fn export(&self, tenant: &str, export_id: &str) -> Outcome<(pb::IncidentExport, Bytes)> {
        let found = exports::read(self.db.read(), tenant, export_id).await?;
        let export = present::export(found.ok_or_else(|| missing(export_id))?)?;
        Ok((export, exports::part(self.db.read(), tenant, export_id).await?))
    }

    /// Exports, newest first, with their places.
    ///
    /// # Errors
    /// When the store can't be read.
    pub async fn exports(
        &self,
        tenant: &str,
        incident_id: &str,
        before: Option<i64>,
        limit: i64,
    ) -> Outcome<Vec<(i64, pb::IncidentExport)>> {
        let rows = exports::list(self.db.read(), tenant, incident_id, before, limit).await?;
        rows.into_iter().map(|row| Ok((row.id, present::export(row)?))).collect()
    }
}

async fn prepare(tx: &mut Tx, act: &Act, new: &NewExport) -> Outcome<pb::IncidentExport> {
    let incident = incidents::find(tx, &act.tenant, &new.incident_id).await?;
    let incident = incident.ok_or_else(|| not_found(&new.incident_id))?;
    let part = freeze(tx, act, &incident, new.kind).await?;
    let bytes = part.encode_to_vec();
    let export = pb::IncidentExport {
        export_id: new.export_id.clone(),
        incident_id: incident.id.clone(),
        kind: new.kind as i32,
        reason: new.reason.clone(),
        exported_by: act.actor_id.clone(),
        created_at: Some(timestamp(act.now)),
        state: pb::IncidentExportState::Pending.into(),
        attempts: part.attempts,
        part_digest: hash(&bytes).to_vec().into(),
        ..pb::IncidentExport::default()
    };
    let ids = (new.export_id.as_str(), incident.id.as_str());
    exports::insert(tx, &act.tenant, ids, (export.encode_to_vec(), bytes)).await?;
    Ok(export)
}

/// What is known of an incident, as it stands.
async fn freeze(
    tx: &mut Tx,
    act: &Act,
    incident: &Incident,
    kind: ExportKind,
) -> Outcome<pb::IncidentExportPart> {
    // One more than there may be: so that more is seen.
    let limit = i64::try_from(MOST_ROWS + 1).unwrap_or(i64::MAX);
    let (tenant, id) = (act.tenant.as_str(), incident.id.as_str());
    let mut occurrences = occurrences::of_incident(tx, tenant, id, limit).await?;
    let mut evidence = exports::evidence(tx, tenant, id, limit).await?;
    let mut events = exports::events(tx, tenant, id, limit).await?;
    let mut links = exports::links(tx, tenant, id, limit).await?;
    let longest = [occurrences.len(), evidence.len(), events.len(), links.len()].into_iter().max();
    let struck = occurrences.iter().filter(|o| !o.voided).map(|o| (o.run_id.as_str(), o.attempt));
    let struck = attempts((&incident.source_run_id, incident.source_attempt), struck);
    let attempts = bounded(kind, struck, longest.unwrap_or_default())?;
    occurrences.truncate(MOST_ROWS);
    evidence.truncate(MOST_ROWS);
    events.truncate(MOST_ROWS);
    links.truncate(MOST_ROWS);
    Ok(pb::IncidentExportPart {
        incident: Some(present::incident(incident)),
        occurrences: occurrences.into_iter().map(present::occurrence).collect(),
        evidence: evidence.into_iter().map(present::evidence).collect(),
        events: events.into_iter().map(present::event).collect(),
        links: links.into_iter().map(present::link).collect(),
        attempts: attempts
            .into_iter()
            .map(|(run_id, attempt)| pb::IncidentAttempt { run_id, attempt })
            .collect(),
        frozen_at: Some(timestamp(act.now)),
    })
}

async fn end(tx: &mut Tx, act: &Act, ending: &Ending) -> Outcome<pb::IncidentExport> {
    let export_id = ending.export_id.as_str();
    let found = exports::find(tx, &act.tenant, export_id).await?.ok_or_else(|| missing(export_id))?;
    if found.state.is_some() || !exports::end(tx, act, export_id, &ending.end).await? {
        return Err(Fault::new(&reasons::INVALID_TRANSITION, "the export has ended already")
            .precondition(format!("exports/{export_id}"), "is PENDING"));
    }
    let completed = ending.end.state == i32::from(pb::IncidentExportState::Completed);
    let ended = ExportRow {
        state: Some(ending.end.state),
        content_export_id: Some(ending.end.content_export_id.clone()),
        content_digest: Some(ending.end.content_digest.clone()),
        content_size: Some(ending.end.content_size),
        reason: Some(ending.end.reason.clone()),
        missing: Some(ending.end.missing.clone()),
        at: Some(act.now),
        ..found
    };
    let export = present::export(ended)?;
    if completed {
        let incident = incidents::find(tx, &act.tenant, &export.incident_id).await?;
        let incident = incident.ok_or_else(|| not_found(&export.incident_id))?;
        history::link(tx, act, &incident.id, (LinkType::Export, export_id), &export.reason).await?;
        emit::exported(tx, act, &incident, &export);
    }
    Ok(export)
}

fn missing(export_id: &str) -> Fault {
    Fault::new(&reasons::EXPORT_NOT_FOUND, "no such export").with("export_id", export_id)
}

/// The answer that was given to this call before.
async fn replayed(
    tx: &mut Tx,
    act: &Act,
    (operation, key, digest): (&str, &str, Digest),
) -> Outcome<Option<pb::IncidentExport>> {
    match tx.replay(&act.tenant, operation, key, digest).await? {
        Replayed::Fresh => Ok(None),
        Replayed::Replay(answer) => pb::IncidentExport::decode(answer)
            .map(Some)
            .map_err(|error| Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(error)),
    }
}

async fn keep(
    tx: &mut Tx,
    act: &Act,
    (operation, key, request_digest): (&str, &str, Digest),
    export: pb::IncidentExport,
) -> Outcome<pb::IncidentExport> {
    tx.keep_answer(KeptAnswer {
        tenant: act.tenant.clone(),
        operation: operation.to_owned(),
        key: key.to_owned(),
        request_digest,
        answer: export.encode_to_vec().into(),
        at: act.now,
    })
    .await?;
    Ok(export)
}
