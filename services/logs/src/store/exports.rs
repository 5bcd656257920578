//! Exports: what was ordered, what became of it, and its content while it is kept.

use bytes::Bytes;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::{Digest, Micros};

/// `export_events.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Ordered.
    Pending = 1,
    /// A worker makes it.
    Running = 2,
    /// Made.
    Completed = 3,
    /// Given up.
    Failed = 4,
    /// Handed out.
    Delivered = 5,
}

/// `export_work.state` of an export that nobody makes yet.
pub const WAITS: i64 = 1;

runspine_db::row! {
    /// An export.
    #[derive(Debug, Clone)]
    pub struct ExportRow {
        /// Stands for its place among all.
        pub id: i64,
        /// Its id.
        pub export_id: String,
        /// The tenant.
        pub tenant_id: String,
        /// What.
        pub scope: i32,
        /// How.
        pub format: i32,
        /// The run; empty for none in particular.
        pub run_id: String,
        /// The attempt; 0 for none in particular.
        pub attempt: u32,
        /// Begin of the period.
        pub since: Option<Micros>,
        /// End of the period.
        pub until: Option<Micros>,
        /// Who ordered it.
        pub requested_by: String,
        /// What kind of actor that is.
        pub actor_type: i32,
        /// Joins everything that one client call led to.
        pub correlation: String,
        /// Why.
        pub reason: String,
        /// When.
        pub created_at: Micros,
        /// Which records, as they were asked for; empty for a scope without a filter.
        pub filter: Bytes,
        /// Number of the last record that there was; 0 for a scope without such an end.
        pub up_to: i64,
    }
}

runspine_db::row! {
    /// Something that became of an export.
    #[derive(Debug, Clone)]
    pub struct EventRow {
        /// The export.
        pub export_id: String,
        /// A [`Kind`]'s number.
        pub kind: i64,
        /// When.
        pub at: Micros,
        /// Why it failed, what it lacks, or to whom it was delivered.
        pub detail: String,
        /// Bytes of the content.
        pub size: u64,
        /// SHA-256 of the content.
        pub digest: Bytes,
        /// Signature of the content.
        pub signature: Bytes,
        /// The key.
        pub key_id: String,
        /// Until when the content is kept.
        pub expires_at: Option<Micros>,
    }
}

impl EventRow {
    /// An event without content.
    pub fn of(export_id: &str, kind: Kind, at: Micros, detail: &str) -> Self {
        Self {
            export_id: export_id.to_owned(),
            kind: kind as i64,
            at,
            detail: detail.to_owned(),
            size: 0,
            digest: Bytes::new(),
            signature: Bytes::new(),
            key_id: String::new(),
            expires_at: None,
        }
    }
}

/// Stores an order and makes it work to be done, not before `not_before` unless its parts come earlier.
pub async fn insert(tx: &mut Tx, row: &ExportRow, not_before: Micros) -> Result<(), DbError> {
    let sql = "INSERT INTO exports (export_id, tenant_id, scope, format, run_id, attempt, since, until, requested_by, \
               actor_type, correlation, reason, created_at, filter, up_to) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    let args = args![
        &row.export_id,
        &row.tenant_id,
        row.scope,
        row.format,
        &row.run_id,
        row.attempt,
        row.since,
        row.until,
        &row.requested_by,
        row.actor_type,
        &row.correlation,
        &row.reason,
        row.created_at,
        &row.filter,
        row.up_to,
    ];
    tx.execute(sql, args).await?;
    let sql = "INSERT INTO export_work (export_id, tenant_id, state, tries, claimed_until) VALUES ($1, $2, 1, 0, $3)";
    tx.execute(sql, args![&row.export_id, &row.tenant_id, not_before]).await?;
    event(tx, &EventRow::of(&row.export_id, Kind::Pending, row.created_at, "")).await
}

/// Notes what became of an export.
pub async fn event(tx: &mut Tx, new: &EventRow) -> Result<(), DbError> {
    let sql = "INSERT INTO export_events (export_id, kind, at, detail, size, digest, signature, key_id, expires_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let args = args![
        &new.export_id,
        new.kind,
        new.at,
        &new.detail,
        new.size,
        &new.digest,
        &new.signature,
        &new.key_id,
        new.expires_at,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Exports of a tenant that are not made yet.
pub async fn in_the_making(tx: &mut Tx, tenant_id: &str) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM export_work WHERE tenant_id = $1 AND state < 3";
    Ok(tx.fetch_one::<(i64,)>(sql, args![tenant_id]).await?.0)
}

/// Takes one export that nobody makes until `until`; gives it and which try this is.
pub async fn claim(tx: &mut Tx, now: Micros, until: Micros) -> Result<Option<(ExportRow, i64)>, DbError> {
    // The outer condition is looked at again when another replica held the row.
    let sql = "UPDATE export_work SET state = 2, tries = tries + 1, claimed_until = $2 WHERE state < 3 \
               AND claimed_until <= $1 AND export_id = (SELECT w.export_id FROM export_work w WHERE w.state < 3 \
               AND w.claimed_until <= $1 ORDER BY w.claimed_until, w.export_id LIMIT 1) RETURNING export_id, tries";
    let claimed: Option<(String, i64)> = tx.fetch_optional(sql, args![now, until]).await?;
    let Some((export_id, tries)) = claimed else { return Ok(None) };
    let sql = format!("SELECT {} FROM exports WHERE export_id = $1", ExportRow::COLUMNS);
    let row: ExportRow = tx.fetch_one(AssertSqlSafe(sql), args![&export_id]).await?;
    event(tx, &EventRow::of(&export_id, Kind::Running, now, "")).await?;
    Ok(Some((row, tries)))
}

/// Ends the work of try `tries`; says whether nobody had taken it since.
pub async fn finish(tx: &mut Tx, export_id: &str, tries: i64) -> Result<bool, DbError> {
    let sql = "UPDATE export_work SET state = 3 WHERE export_id = $1 AND tries = $2 AND state = 2";
    Ok(tx.execute(sql, args![export_id, tries]).await? == 1)
}

/// Keeps content until `expires_at`.
pub async fn keep(tx: &mut Tx, export_id: &str, content: &Bytes, expires_at: Micros) -> Result<(), DbError> {
    const PIECE: usize = 64 * 1024;
    let pieces = content.chunks(PIECE).enumerate();
    let rows: Vec<Args> = pieces.map(|(n, piece)| args![export_id, n, piece, expires_at]).collect();
    for part in rows.chunks(64) {
        let columns = ["export_id", "piece", "content", "expires_at"];
        tx.insert_rows("export_contents", &columns, part.to_vec(), "").await?;
    }
    Ok(())
}

/// The piece `n` of a content; `None` behind the last, or when it expired.
pub async fn piece(read: &Read, export_id: &str, n: u32) -> Result<Option<Bytes>, DbError> {
    let sql = "SELECT content FROM export_contents WHERE export_id = $1 AND piece = $2";
    Ok(read.fetch_optional::<(Bytes,)>(sql, args![export_id, n]).await?.map(|(content,)| content))
}

/// Forgets contents that expired before `now`; gives how many pieces.
pub async fn forget(tx: &mut Tx, now: Micros) -> Result<u64, DbError> {
    tx.execute("DELETE FROM export_contents WHERE expires_at <= $1", args![now]).await
}

/// One export.
pub async fn find(read: &Read, tenant_id: &str, export_id: &str) -> Result<Option<ExportRow>, DbError> {
    let sql = format!("SELECT {} FROM exports WHERE tenant_id = $1 AND export_id = $2", ExportRow::COLUMNS);
    read.fetch_optional(AssertSqlSafe(sql), args![tenant_id, export_id]).await
}

/// What became of exports, in order.
pub async fn events(read: &Read, export_ids: &[&str]) -> Result<Vec<EventRow>, DbError> {
    if export_ids.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<String> = (1..=export_ids.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT {} FROM export_events WHERE export_id IN ({}) ORDER BY export_id, id",
        EventRow::COLUMNS,
        places.join(",")
    );
    read.fetch_all(AssertSqlSafe(sql), export_ids.iter().map(|id| (*id).into()).collect()).await
}

/// Exports, newest first, those before `before`.
pub async fn list(
    read: &Read,
    tenant_id: &str,
    (scope, run_id): (i32, &str),
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<ExportRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM exports WHERE tenant_id = $1 AND ($2 = 0 OR scope = $2) AND ($3 = '' OR run_id = $3) \
         AND id < $4 ORDER BY id DESC LIMIT $5",
        ExportRow::COLUMNS
    );
    let before = before.unwrap_or(i64::MAX);
    read.fetch_all(AssertSqlSafe(sql), args![tenant_id, scope, run_id, before, limit]).await
}

/// The newest incident that was opened about a run, and its step.
pub async fn incident(
    read: &Read,
    tenant_id: &str,
    run_id: &str,
) -> Result<Option<(String, Option<u32>)>, DbError> {
    let sql = "SELECT entity_id, step_index FROM ledger WHERE tenant_id = $1 AND run_id <> '' AND run_id = $2 \
               AND event_type IN ('incidents.IncidentOpened', 'incidents.IncidentLinked') ORDER BY seq DESC LIMIT 1";
    read.fetch_optional(sql, args![tenant_id, run_id]).await
}

/// A digest as it is stored with an event.
#[must_use]
pub fn stored(digest: Digest) -> Bytes {
    Bytes::copy_from_slice(digest.as_bytes())
}
