//! Rows of `incident_events`, `incident_evidence` and `incident_links`.

use runspine_db::{Args, AssertSqlSafe, DbError, Read, Snapshot, Tx, args, row};
use runspine_incidents_domain::{
    LinkType,
    incident::{Entry, Incident},
};
use runspine_types::Micros;

use crate::app::{Act, EvidencePiece};

row! {
    /// One entry of a history.
    #[derive(Debug, Clone)]
    pub struct EventRow {
        /// Dense number within the incident, from 1.
        pub seq: i64,
        /// What happened.
        pub kind: i32,
        /// State after it.
        pub status: i32,
        /// Severity after it.
        pub severity: i32,
        /// Version after it.
        pub version: i64,
        /// Kind of actor.
        pub actor_type: i32,
        /// Who did it.
        pub actor_id: String,
        /// When.
        pub at: Micros,
        /// The note or reason.
        pub note: String,
        /// The occurrence that it is about.
        pub occurrence_id: String,
        /// The run that it is about.
        pub run_id: String,
    }
}

row! {
    /// A link.
    #[derive(Debug, Clone)]
    pub struct LinkRow {
        /// What kind of thing.
        pub link_type: i32,
        /// Which one.
        pub target_id: String,
        /// Why.
        pub reason: String,
        /// When.
        pub at: Micros,
    }
}

/// Adds entries behind the `event_count - entries.len()` that the incident has already.
pub async fn append(tx: &mut Tx, act: &Act, incident: &Incident, entries: &[Entry]) -> Result<(), DbError> {
    let columns = [
        "tenant_id",
        "incident_id",
        "seq",
        "kind",
        "status",
        "severity",
        "version",
        "actor_type",
        "actor_id",
        "at",
        "note",
        "occurrence_id",
        "run_id",
    ];
    let first = incident.event_count - i64::try_from(entries.len()).unwrap_or(0) + 1;
    let row = |(seq, e): (i64, &Entry)| -> Args {
        args![
            &act.tenant,
            &incident.id,
            seq,
            e.kind.code(),
            e.status.code(),
            e.severity.code(),
            incident.version,
            act.actor_type,
            &act.actor_id,
            act.now,
            &e.note,
            &e.occurrence_id,
            &e.run_id,
        ]
    };
    tx.insert_rows("incident_events", &columns, (first..).zip(entries).map(row).collect(), "").await?;
    Ok(())
}

/// Adds evidence behind what the incident has already.
pub async fn add_evidence(
    tx: &mut Tx,
    act: &Act,
    incident_id: &str,
    occurrence_id: &str,
    pieces: &[EvidencePiece],
) -> Result<(), DbError> {
    let sql = "SELECT COALESCE(MAX(seq), 0) FROM incident_evidence WHERE tenant_id = $1 AND incident_id = $2";
    let (last,) = tx.fetch_one::<(i64,)>(sql, args![&act.tenant, incident_id]).await?;
    let columns = [
        "id",
        "tenant_id",
        "incident_id",
        "seq",
        "occurrence_id",
        "kind",
        "rule_id",
        "value",
        "condition",
        "digest",
        "step_index",
        "trace_position",
        "trace_link",
        "actor_type",
        "actor_id",
        "captured_at",
    ];
    let row = |(seq, e): (i64, &EvidencePiece)| -> Args {
        args![
            &e.id,
            &act.tenant,
            incident_id,
            seq,
            occurrence_id,
            e.kind.code(),
            &e.rule_id,
            &e.value,
            &e.condition,
            &e.digest,
            e.step_index,
            e.trace_position,
            &e.trace_link,
            act.actor_type,
            &act.actor_id,
            act.now,
        ]
    };
    tx.insert_rows("incident_evidence", &columns, (last + 1..).zip(pieces).map(row).collect(), "").await?;
    Ok(())
}

/// Ids of the evidence of one occurrence, in order.
pub async fn evidence_of(
    tx: &mut Tx,
    tenant: &str,
    incident_id: &str,
    occurrence_id: &str,
) -> Result<Vec<String>, DbError> {
    let sql = "SELECT id FROM incident_evidence WHERE tenant_id = $1 AND incident_id = $2 AND occurrence_id = $3 \
               ORDER BY seq";
    let rows: Vec<(String,)> = tx.fetch_all(sql, args![tenant, incident_id, occurrence_id]).await?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Links an incident to something; the same link again changes nothing and is `false`.
pub async fn link(
    tx: &mut Tx,
    act: &Act,
    incident_id: &str,
    (link_type, target_id): (LinkType, &str),
    reason: &str,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO incident_links (tenant_id, incident_id, seq, link_type, target_id, reason, actor_type, \
               actor_id, at) SELECT $1, $2, COALESCE(MAX(seq), 0) + 1, $3, $4, $5, $6, $7, $8 FROM incident_links \
               WHERE tenant_id = $1 AND incident_id = $2 ON CONFLICT DO NOTHING";
    let values = args![
        &act.tenant,
        incident_id,
        link_type.code(),
        target_id,
        reason,
        act.actor_type,
        &act.actor_id,
        act.now,
    ];
    Ok(tx.execute(sql, values).await? == 1)
}

/// A page of a history, oldest first, behind `after`.
pub async fn page(
    read: &Read,
    tenant: &str,
    incident_id: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<EventRow>, DbError> {
    let tail =
        "FROM incident_events WHERE tenant_id = $1 AND incident_id = $2 AND seq > $3 ORDER BY seq LIMIT $4";
    let sql = AssertSqlSafe(format!("SELECT {} {tail}", EventRow::COLUMNS));
    read.fetch_all(sql, args![tenant, incident_id, after, limit]).await
}

/// The links of an incident, oldest first.
pub async fn links(read: &mut Snapshot, tenant: &str, incident_id: &str) -> Result<Vec<LinkRow>, DbError> {
    let tail = "FROM incident_links WHERE tenant_id = $1 AND incident_id = $2 ORDER BY seq LIMIT 1000";
    let sql = AssertSqlSafe(format!("SELECT {} {tail}", LinkRow::COLUMNS));
    read.fetch_all(sql, args![tenant, incident_id]).await
}

/// How many pieces of evidence an incident has.
pub async fn evidence_count(read: &mut Snapshot, tenant: &str, incident_id: &str) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM incident_evidence WHERE tenant_id = $1 AND incident_id = $2";
    Ok(read.fetch_one::<(i64,)>(sql, args![tenant, incident_id]).await?.0)
}
