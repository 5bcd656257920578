//! Rows of `incident_exports` and `incident_export_ends`, and what is frozen for them.

use bytes::Bytes;
use runspine_db::{AssertSqlSafe, DbError, Read, Tx, args, row};
use runspine_types::Micros;

use super::history::{EventRow, LinkRow};
use crate::app::Act;

row! {
    /// An export, with its end when it has one.
    #[derive(Debug, Clone)]
    pub struct ExportRow {
        /// Stands for its place among all.
        pub id: i64,
        /// It, serialized as it was when its part was frozen.
        pub export: Bytes,
        /// A state's number, when it has ended.
        pub state: Option<i32>,
        /// The export of logs.
        pub content_export_id: Option<String>,
        /// Digest of the content.
        pub content_digest: Option<Bytes>,
        /// Bytes of the content.
        pub content_size: Option<u64>,
        /// Why it failed.
        pub reason: Option<String>,
        /// What it lacked, one a line.
        pub missing: Option<String>,
        /// When it ended.
        pub at: Option<Micros>,
    }
}

row! {
    /// A piece of evidence as stored.
    #[derive(Debug, Clone)]
    pub struct EvidenceRow {
        /// What kind it is.
        pub kind: i32,
        /// The rule.
        pub rule_id: String,
        /// The redacted value.
        pub value: String,
        /// The condition.
        pub condition: String,
        /// Digest of what is meant.
        pub digest: Bytes,
        /// The step.
        pub step_index: Option<u32>,
        /// Its place on the trace.
        pub trace_position: Option<u64>,
        /// The link at that place.
        pub trace_link: Bytes,
    }
}

/// How an export ended.
#[derive(Debug, Clone, Default)]
pub struct End {
    /// A state's number.
    pub state: i32,
    /// The export of logs; empty: it failed.
    pub content_export_id: String,
    /// Digest of the content.
    pub content_digest: Bytes,
    /// Bytes of the content.
    pub content_size: u64,
    /// Why it failed; empty: it did not.
    pub reason: String,
    /// What it lacked, one a line.
    pub missing: String,
}

const SELECT: &str = "SELECT x.id, x.export, e.state, e.content_export_id, e.content_digest, e.content_size, e.reason, \
    e.missing, e.at FROM incident_exports x LEFT JOIN incident_export_ends e ON e.tenant_id = x.tenant_id \
    AND e.export_id = x.export_id";

/// Keeps an export with what was frozen for it.
pub async fn insert(
    tx: &mut Tx,
    tenant: &str,
    (export_id, incident_id): (&str, &str),
    (export, part): (Vec<u8>, Vec<u8>),
) -> Result<(), DbError> {
    let sql = "INSERT INTO incident_exports (export_id, tenant_id, incident_id, export, part) VALUES ($1, $2, $3, $4, $5)";
    tx.execute(sql, args![export_id, tenant, incident_id, export, part]).await?;
    Ok(())
}

/// Ends an export; one that has ended is left as it is, and `false`.
pub async fn end(tx: &mut Tx, act: &Act, export_id: &str, end: &End) -> Result<bool, DbError> {
    let sql = "INSERT INTO incident_export_ends (tenant_id, export_id, state, content_export_id, content_digest, \
               content_size, reason, missing, actor_type, actor_id, at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING";
    let values = args![
        &act.tenant,
        export_id,
        end.state,
        &end.content_export_id,
        &end.content_digest,
        end.content_size,
        &end.reason,
        &end.missing,
        act.actor_type,
        &act.actor_id,
        act.now,
    ];
    Ok(tx.execute(sql, values).await? == 1)
}

/// One export, inside a change of it.
pub async fn find(tx: &mut Tx, tenant: &str, export_id: &str) -> Result<Option<ExportRow>, DbError> {
    let sql = format!("{SELECT} WHERE x.tenant_id = $1 AND x.export_id = $2");
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, export_id]).await
}

/// One export.
pub async fn read(read: &Read, tenant: &str, export_id: &str) -> Result<Option<ExportRow>, DbError> {
    let sql = format!("{SELECT} WHERE x.tenant_id = $1 AND x.export_id = $2");
    read.fetch_optional(AssertSqlSafe(sql), args![tenant, export_id]).await
}

/// What was frozen for an export.
pub async fn part(read: &Read, tenant: &str, export_id: &str) -> Result<Bytes, DbError> {
    let sql = "SELECT part FROM incident_exports WHERE tenant_id = $1 AND export_id = $2";
    Ok(read.fetch_one::<(Bytes,)>(sql, args![tenant, export_id]).await?.0)
}

/// Exports, newest first, those before `before`. An empty incident is any.
pub async fn list(
    read: &Read,
    tenant: &str,
    incident_id: &str,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<ExportRow>, DbError> {
    let sql = format!(
        "{SELECT} WHERE x.tenant_id = $1 AND ($2 = '' OR x.incident_id = $2) AND x.id < $3 ORDER BY x.id DESC LIMIT $4"
    );
    let before = before.unwrap_or(i64::MAX);
    read.fetch_all(AssertSqlSafe(sql), args![tenant, incident_id, before, limit]).await
}

/// The evidence of an incident, in order.
pub async fn evidence(
    tx: &mut Tx,
    tenant: &str,
    incident_id: &str,
    limit: i64,
) -> Result<Vec<EvidenceRow>, DbError> {
    let tail = "FROM incident_evidence WHERE tenant_id = $1 AND incident_id = $2 ORDER BY seq LIMIT $3";
    let sql = format!("SELECT {} {tail}", EvidenceRow::COLUMNS);
    tx.fetch_all(AssertSqlSafe(sql), args![tenant, incident_id, limit]).await
}

/// The history of an incident, in order.
pub async fn events(
    tx: &mut Tx,
    tenant: &str,
    incident_id: &str,
    limit: i64,
) -> Result<Vec<EventRow>, DbError> {
    let tail = "FROM incident_events WHERE tenant_id = $1 AND incident_id = $2 ORDER BY seq LIMIT $3";
    let sql = format!("SELECT {} {tail}", EventRow::COLUMNS);
    tx.fetch_all(AssertSqlSafe(sql), args![tenant, incident_id, limit]).await
}

/// The links of an incident, in order.
pub async fn links(
    tx: &mut Tx,
    tenant: &str,
    incident_id: &str,
    limit: i64,
) -> Result<Vec<LinkRow>, DbError> {
    let tail = "FROM incident_links WHERE tenant_id = $1 AND incident_id = $2 ORDER BY seq LIMIT $3";
    let sql = format!("SELECT {} {tail}", LinkRow::COLUMNS);
    tx.fetch_all(AssertSqlSafe(sql), args![tenant, incident_id, limit]).await
}
