//! Reads of everything that controls has on a run.

use bytes::Bytes;
use runspine_controls_domain::hold::Hold;
use runspine_db::{AssertSqlSafe, DbError, Read, args};
use runspine_types::Micros;

use super::rows::{AllocationRow, FreezeRow, HoldRow};

runspine_db::row! {
    /// A recorded admission.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct EvidenceRow {
        pub step_index: i64,
        pub ask: u32,
        pub evidence_id: String,
        pub decision_id: String,
        pub fence: u64,
        pub resolver_version: u32,
        pub inputs: Bytes,
        pub inputs_digest: Bytes,
        pub answer: Bytes,
        pub evaluated_at: Micros,
    }
}

/// Admissions of a run that were not plain ALLOW, oldest first.
///
/// # Errors
/// When the store fails.
pub async fn admissions(read: &Read, run: i64, most: i64) -> Result<Vec<EvidenceRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM evidence WHERE run_key = $1 AND plain = 0 ORDER BY evaluated_at, step_index, ask LIMIT $2",
        EvidenceRow::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args![run, most]).await
}

/// Numbers of a run: admissions, denied ones, holds, expired ones, late charges.
///
/// # Errors
/// When the store fails.
pub async fn counts(read: &Read, run: i64) -> Result<(i64, i64, i64, i64, i64), DbError> {
    let sql = "SELECT (SELECT COUNT(*) FROM evidence WHERE run_key = $1), \
               (SELECT COUNT(*) FROM evidence WHERE run_key = $1 AND verdict = 2), \
               (SELECT COUNT(*) FROM holds WHERE run_key = $1 AND ask >= 0), \
               (SELECT COUNT(*) FROM holds WHERE run_key = $1 AND state = 4), \
               (SELECT COUNT(*) FROM budget_entries WHERE run_key = $1 AND kind = 6)";
    read.fetch_one(sql, args![run]).await
}

/// The settlement of a run, as it was answered.
///
/// # Errors
/// When the store fails.
pub async fn settlement(read: &Read, run: i64) -> Result<Option<Bytes>, DbError> {
    let sql = "SELECT answer FROM settlements WHERE run_key = $1";
    Ok(read.fetch_optional::<(Bytes,)>(sql, args![run]).await?.map(|r| r.0))
}

/// The escrow of a run, open and closed.
///
/// # Errors
/// When the store fails.
pub async fn allocations(read: &Read, run: i64) -> Result<Vec<AllocationRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM allocations WHERE run_key = $1 ORDER BY envelope_key, period_start",
        AllocationRow::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args![run]).await
}

/// The active holds of a run, without their lines.
///
/// # Errors
/// When the store fails.
pub async fn active_holds(read: &Read, run: i64, most: i64) -> Result<Vec<Hold>, DbError> {
    let sql = format!(
        "SELECT {} FROM holds WHERE run_key = $1 AND state = 1 ORDER BY step_index, ask LIMIT $2",
        HoldRow::COLUMNS
    );
    let rows: Vec<HoldRow> = read.fetch_all(AssertSqlSafe(sql), args![run, most]).await?;
    rows.iter().map(HoldRow::hold).collect()
}

/// The lines of a run's active holds: step, ask, envelope, amount, unfunded.
///
/// # Errors
/// When the store fails.
pub async fn active_lines(read: &Read, run: i64) -> Result<Vec<(i64, i64, i64, i64, bool)>, DbError> {
    let sql = "SELECT n.step_index, n.ask, n.envelope_key, n.amount, n.unfunded FROM hold_lines n \
               JOIN holds h ON h.run_key = n.run_key AND h.step_index = n.step_index AND h.ask = n.ask \
               WHERE n.run_key = $1 AND h.state = 1 ORDER BY n.step_index, n.ask, n.envelope_key";
    read.fetch_all(sql, args![run]).await
}

/// Freezes by their ids.
///
/// # Errors
/// When the store fails.
pub async fn freezes(read: &Read, ids: &[String]) -> Result<Vec<FreezeRow>, DbError> {
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let sql = format!("SELECT {} FROM freezes WHERE freeze_id = $1", FreezeRow::COLUMNS);
        found.extend(read.fetch_optional::<FreezeRow>(AssertSqlSafe(sql), args![id]).await?);
    }
    Ok(found)
}
