//! Mismatches and their explanations.

use bytes::Bytes;
use runspine_db::{AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::Micros;

use super::newest::Newest;

runspine_db::row! {
    /// A mismatch with what became of it.
    #[derive(Debug, Clone)]
    pub struct MismatchRow {
        /// Stands for its place among all.
        pub id: i64,
        /// Its id.
        pub mismatch_id: String,
        /// The run.
        pub run_id: String,
        /// The attempt.
        pub attempt: u32,
        /// The step.
        pub step_index: Option<u32>,
        /// What differs.
        pub reason: String,
        /// What was recorded.
        pub expected_digest: Bytes,
        /// What was found.
        pub actual_digest: Bytes,
        /// For a person.
        pub details: String,
        /// Who reported it.
        pub reporter: String,
        /// The report before it.
        pub previous_id: String,
        /// The incident about it.
        pub incident_id: String,
        /// A ticket elsewhere.
        pub external_ref: String,
        /// When it was reported.
        pub reported_at: Micros,
        /// The replay that found it.
        pub replay_id: String,
        /// The explanation.
        pub note: Option<String>,
        /// Who explained it.
        pub resolved_by: Option<String>,
        /// When.
        pub resolved_at: Option<Micros>,
    }
}

const FROM: &str = "SELECT m.id, m.mismatch_id, m.run_id, m.attempt, m.step_index, m.reason, m.expected_digest, \
                    m.actual_digest, m.details, m.reporter, m.previous_id, m.incident_id, m.external_ref, \
                    m.reported_at, m.replay_id, e.note, e.actor_id AS resolved_by, e.at AS resolved_at FROM mismatches m \
                    LEFT JOIN mismatch_events e ON e.mismatch_id = m.mismatch_id WHERE m.tenant_id = $1";

/// What mismatches have in common.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The run.
    pub run_id: Option<String>,
    /// What differs.
    pub reason: Option<String>,
    /// Explained or not.
    pub resolved: Option<bool>,
    /// Reported at or after.
    pub from: Option<Micros>,
    /// Reported before.
    pub to: Option<Micros>,
    /// Before this place: time and number.
    pub before: Option<(i64, i64)>,
}

/// Stores a mismatch; its number is given by the store.
pub async fn insert(tx: &mut Tx, tenant_id: &str, row: &MismatchRow) -> Result<(), DbError> {
    let sql = "INSERT INTO mismatches (mismatch_id, tenant_id, run_id, attempt, step_index, reason, expected_digest, \
               actual_digest, details, reporter, previous_id, incident_id, external_ref, reported_at, \
               replay_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";
    let args = args![
        &row.mismatch_id,
        tenant_id,
        &row.run_id,
        row.attempt,
        row.step_index,
        &row.reason,
        &row.expected_digest,
        &row.actual_digest,
        &row.details,
        &row.reporter,
        &row.previous_id,
        &row.incident_id,
        &row.external_ref,
        row.reported_at,
        &row.replay_id,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Notes that a mismatch was explained.
pub async fn resolve(
    tx: &mut Tx,
    mismatch_id: &str,
    (note, actor_id): (&str, &str),
    at: Micros,
) -> Result<(), DbError> {
    let sql = "INSERT INTO mismatch_events (mismatch_id, note, actor_id, at) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![mismatch_id, note, actor_id, at]).await?;
    Ok(())
}

/// One mismatch, inside a transaction.
pub async fn find_in(tx: &mut Tx, tenant_id: &str, id: &str) -> Result<Option<MismatchRow>, DbError> {
    let sql = format!("{FROM} AND m.mismatch_id = $2");
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant_id, id]).await
}

/// Mismatches, newest first.
pub async fn list(
    read: &Read,
    tenant_id: &str,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<MismatchRow>, DbError> {
    let resolved = filter.resolved.map(|resolved| if resolved { "e.at IS NOT NULL" } else { "e.at IS NULL" });
    Newest::of(FROM, args![tenant_id], ["m.reported_at", "m.id"])
        .and("m.run_id =", filter.run_id.as_deref())
        .and("m.reason =", filter.reason.as_deref())
        .and("m.reported_at >=", filter.from)
        .and("m.reported_at <", filter.to)
        .that(resolved)
        .page(read, filter.before, limit)
        .await
}
