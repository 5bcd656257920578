//! Where the bundles of traces are.

use runspine_db::{AssertSqlSafe, DbError, Read, Tuples, Tx, args};
use runspine_types::{Digest, Micros};

runspine_db::row! {
    /// The archive of a main trace.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ArchiveRow {
        /// The trace.
        pub trace_key: i64,
        /// The file under the archive's folder.
        pub location: String,
        /// SHA-256 of the file.
        pub bundle_digest: Digest,
        /// Its bytes.
        pub size: u64,
        /// When it was written and verified.
        pub archived_at: Micros,
    }
}

/// Notes where a bundle is; says whether nobody did before.
///
/// # Errors
/// When the store refuses it.
pub async fn insert(tx: &mut Tx, row: &ArchiveRow) -> Result<bool, DbError> {
    let sql = "INSERT INTO trace_archives (trace_key, location, bundle_digest, size, archived_at) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let args = args![row.trace_key, &row.location, row.bundle_digest, row.size, row.archived_at];
    Ok(tx.execute(sql, args).await? > 0)
}

/// The archives of many traces, with one statement.
///
/// # Errors
/// When the store can't be read.
pub async fn of_many(read: &Read, trace_keys: &[i64]) -> Result<Vec<ArchiveRow>, DbError> {
    let mut tuples = Tuples::new(1);
    trace_keys.iter().for_each(|key| tuples.push(args![*key]));
    let mut found = Vec::new();
    for (values, args) in tuples.parts(read.dialect()) {
        let sql = format!(
            "SELECT a.* FROM {values} AS w CROSS JOIN trace_archives a WHERE a.trace_key = w.column1"
        );
        found.extend(read.fetch_all::<ArchiveRow>(AssertSqlSafe(sql), args).await?);
    }
    Ok(found)
}

/// Attempts that were sealed before `before` and are not archived, the oldest first: tenant, run, number and the time of
/// the seal. `after` is the last one that was looked at.
///
/// # Errors
/// When the store can't be read.
pub async fn due(
    read: &Read,
    before: Micros,
    after: (Micros, i64),
    limit: i64,
) -> Result<Vec<(String, String, u32, Micros, i64)>, DbError> {
    let sql = "SELECT t.tenant_id, t.run_id, t.attempt, s.sealed_at, s.trace_key FROM trace_seals s \
               JOIN traces t ON t.trace_key = s.trace_key WHERE s.sealed_at < $1 AND t.addendum = 0 \
               AND (s.sealed_at, s.trace_key) > ($2, $3) \
               AND NOT EXISTS (SELECT 1 FROM trace_archives a WHERE a.trace_key = s.trace_key) \
               ORDER BY s.sealed_at, s.trace_key LIMIT $4";
    read.fetch_all(sql, args![before, after.0, after.1, limit]).await
}
