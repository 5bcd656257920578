//! What an operator's command drops. Nothing that serves calls deletes a row of these tables.

use runspine_db::{AssertSqlSafe, DbError, Read, Tuples, Tx, Value, args};
use runspine_types::{Digest, Micros};

runspine_db::row! {
    /// What is left of a trace whose records were dropped.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct PurgeRow {
        /// The trace.
        pub trace_key: i64,
        /// The bundle that has them, under the archive's folder.
        pub location: String,
        /// SHA-256 of that file.
        pub bundle_digest: Digest,
        /// How many they were.
        pub records: u64,
        /// When.
        pub purged_at: Micros,
    }
}

/// Runs that still have records, and whose traces were all sealed before `before`, behind `after` (tenant and run): at
/// most `limit`, in order.
///
/// # Errors
/// When the store can't be read.
pub async fn candidates(
    read: &Read,
    before: Micros,
    after: (&str, &str),
    limit: i64,
) -> Result<Vec<(String, String)>, DbError> {
    let sql = "SELECT t.tenant_id, t.run_id FROM traces t JOIN trace_heads h ON h.trace_key = t.trace_key \
               LEFT JOIN trace_seals s ON s.trace_key = t.trace_key WHERE (t.tenant_id, t.run_id) > ($2, $3) \
               GROUP BY t.tenant_id, t.run_id HAVING MIN(CASE WHEN s.sealed_at < $1 THEN 1 ELSE 0 END) = 1 \
               AND MIN(h.purged) = 0 ORDER BY t.tenant_id, t.run_id LIMIT $4";
    read.fetch_all(sql, args![before, after.0, after.1, limit]).await
}

/// Whether a run is under a legal hold, its own or that of a person whose payload it has.
///
/// # Errors
/// When the store can't be read.
pub async fn is_held(read: &Read, tenant: &str, run_id: &str) -> Result<bool, DbError> {
    let sql = "SELECT hold FROM legal_holds WHERE tenant_id = $1 AND run_id = $2 ORDER BY id DESC LIMIT 1";
    let own: Option<(bool,)> = read.fetch_optional(sql, args![tenant, run_id]).await?;
    if own.is_some_and(|(hold,)| hold) {
        return Ok(true);
    }
    let sql = "SELECT 1 FROM payloads p WHERE p.tenant_id = $1 AND p.run_id = $2 AND p.subject IS NOT NULL \
               AND COALESCE((SELECT h.hold FROM legal_holds h WHERE h.tenant_id = p.tenant_id \
               AND h.subject = p.subject ORDER BY h.id DESC LIMIT 1), 0) = 1 LIMIT 1";
    Ok(read.fetch_optional::<(i64,)>(sql, args![tenant, run_id]).await?.is_some())
}

/// Drops the records of a trace and leaves `row` in their place; gives how many there were. The caller opened
/// `trace_records` for it.
///
/// # Errors
/// When the store refuses it.
pub async fn drop_records(tx: &mut Tx, row: &PurgeRow) -> Result<u64, DbError> {
    let dropped = tx.execute("DELETE FROM trace_records WHERE trace_key = $1", args![row.trace_key]).await?;
    let sql = "INSERT INTO trace_purges (trace_key, location, bundle_digest, records, purged_at) \
               VALUES ($1, $2, $3, $4, $5)";
    tx.execute(sql, args![row.trace_key, &row.location, row.bundle_digest, dropped, row.purged_at]).await?;
    tx.execute("UPDATE trace_heads SET purged = 1 WHERE trace_key = $1", args![row.trace_key]).await?;
    Ok(dropped)
}

/// A table of records that are kept for a time only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// What happened to the mesh itself.
    System,
    /// What came to its door.
    Dispatches,
}

impl Kept {
    /// The table.
    #[must_use]
    pub const fn table(self) -> &'static str {
        match self {
            Self::System => "system_records",
            Self::Dispatches => "dispatch_records",
        }
    }
}

/// How many records of each tenant were recorded before `before`.
///
/// # Errors
/// When the store can't be read.
pub async fn count_old(tx: &mut Tx, kept: Kept, before: Micros) -> Result<Vec<(String, u64)>, DbError> {
    let sql = format!(
        "SELECT tenant_id, COUNT(*) FROM {} WHERE recorded_at < $1 GROUP BY tenant_id ORDER BY tenant_id",
        kept.table()
    );
    tx.fetch_all(AssertSqlSafe(sql), args![before]).await
}

/// Drops the records that were recorded before `before`. The caller opened the table for it.
///
/// # Errors
/// When the store refuses it.
pub async fn drop_old(tx: &mut Tx, kept: Kept, before: Micros) -> Result<u64, DbError> {
    let sql = format!("DELETE FROM {} WHERE recorded_at < $1", kept.table());
    tx.execute(AssertSqlSafe(sql), args![before]).await
}

/// What is left of traces, with one statement.
///
/// # Errors
/// When the store can't be read.
pub async fn of_many(read: &Read, trace_keys: &[i64]) -> Result<Vec<PurgeRow>, DbError> {
    let mut tuples = Tuples::new(1);
    trace_keys.iter().for_each(|key| tuples.push(vec![Value::from(*key)]));
    let mut found = Vec::new();
    for (values, args) in tuples.parts(read.dialect()) {
        let sql =
            format!("SELECT p.* FROM {values} AS w CROSS JOIN trace_purges p WHERE p.trace_key = w.column1");
        found.extend(read.fetch_all::<PurgeRow>(AssertSqlSafe(sql), args).await?);
    }
    Ok(found)
}
