//! Reads of everything that controls has on a run.

use bytes::Bytes;
use runspine_controls_domain::{hold::Hold, limit::Limit};
use runspine_db::{AssertSqlSafe, DbError, FromRow, Read, Row, args};
use runspine_types::{Micros, PLATFORM_TENANT};

use super::{
    lists::{CHUNK, list},
    rows::{AllocationRow, FreezeRow, HoldRow, LimitRow},
    views::Where,
};

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

/// The entries of some runs: those of their holds, and those that are of no hold. `runs` is what their keys are compared
/// with, such as `= $1`.
pub(super) fn entries_of(runs: &str) -> String {
    format!(
        "entry_seq IN (SELECT x.entry_seq FROM budget_entries x WHERE x.hold_id IS NOT NULL AND x.hold_id IN \
         (SELECT hold_id FROM evidence WHERE run_key {runs} UNION ALL \
         SELECT hold_id FROM holds WHERE ask = -1 AND run_key {runs}) UNION ALL \
         SELECT y.entry_seq FROM budget_entries y WHERE y.hold_id IS NULL AND y.run_key {runs})"
    )
}

/// Numbers of a run: admissions, denied ones, holds, expired ones, late charges.
///
/// # Errors
/// When the store fails.
pub async fn counts(read: &Read, run: i64) -> Result<(i64, i64, i64, i64, i64), DbError> {
    let sql = "SELECT (SELECT COUNT(*) FROM evidence WHERE run_key = $1), \
               (SELECT COUNT(*) FROM evidence WHERE run_key = $1 AND verdict = 2), \
               (SELECT COUNT(*) FROM evidence WHERE run_key = $1 AND hold_id IS NOT NULL), \
               (SELECT COUNT(*) FROM evidence e JOIN holds h ON h.hold_id = e.hold_id WHERE e.run_key = $1 AND h.state = 4), \
               (SELECT COUNT(*) FROM budget_entries WHERE kind = 6 AND ";
    let late = format!("{sql}{})", entries_of("= $1"));
    read.fetch_one(AssertSqlSafe(late), args![run]).await
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
    let sql = "SELECT h.step_index, h.ask, n.envelope_key, n.amount, n.unfunded FROM holds h \
               JOIN hold_lines n ON n.hold_id = h.hold_id \
               WHERE h.run_key = $1 AND h.state = 1 ORDER BY h.step_index, h.ask, n.envelope_key";
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

/// Where an admission stands in the order of all: run, step (-1: its start), ask.
pub type Place = (i64, i64, i64);

/// A recorded admission with the run that it is about.
#[derive(Debug, Clone)]
pub struct ListedRow {
    /// Its place.
    pub place: Place,
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
    /// The admission.
    pub row: EvidenceRow,
}

impl FromRow for ListedRow {
    fn from_row(row: &Row) -> Result<Self, DbError> {
        let evidence = EvidenceRow::from_row(row)?;
        let run_key: i64 = row.get("run_key")?;
        Ok(Self {
            place: (run_key, evidence.step_index, i64::from(evidence.ask)),
            run_id: row.get("run_id")?,
            attempt: row.get("attempt")?,
            row: evidence,
        })
    }
}

/// Admissions of a tenant in the order of their places, behind one.
///
/// # Errors
/// When the store fails.
pub async fn listed(
    read: &Read,
    tenant: &str,
    run_id: Option<&String>,
    verdicts: &[i32],
    (run, step, ask): Place,
    most: i64,
) -> Result<Vec<ListedRow>, DbError> {
    let behind = "r.tenant_id = $1 AND (e.run_key, e.step_index, e.ask) > ($2, $3, $4)";
    let mut when = Where::new(behind, args![tenant, run, step, ask]);
    when.and("r.run_id = ?", run_id);
    when.one_of("e.verdict", verdicts);
    let most = when.place(most);
    let sql = format!(
        "SELECT e.run_key, r.run_id, r.attempt, e.step_index, e.ask, e.evidence_id, e.decision_id, e.fence, \
         e.resolver_version, e.inputs, e.inputs_digest, e.answer, e.evaluated_at \
         FROM run_leases r JOIN evidence e ON e.run_key = r.run_key \
         WHERE {} ORDER BY e.run_key, e.step_index, e.ask LIMIT {most}",
        when.text
    );
    read.fetch_all(AssertSqlSafe(sql), when.args).await
}

/// Every version of some limits that a tenant is counted under.
///
/// # Errors
/// When the store fails.
pub async fn versions(read: &Read, tenant: &str, ids: &[String]) -> Result<Vec<Limit>, DbError> {
    let mut found = Vec::new();
    for part in ids.chunks(CHUNK) {
        let ids = list(part.iter().map(|id| args![id]).collect());
        let place = ids.args.len();
        let sql = format!(
            "SELECT l.limit_key, l.limit_id, v.state, l.source, v.version, v.spec, l.created_at, v.at AS updated_at \
             FROM limits l JOIN limit_versions v ON v.limit_key = l.limit_key \
             WHERE l.limit_id IN (SELECT column1 FROM {}) AND (l.tenant_id = ${} OR l.tenant_id = ${})",
            ids.sql,
            place + 1,
            place + 2
        );
        let mut values = ids.args;
        values.extend(args![tenant, PLATFORM_TENANT]);
        let rows: Vec<LimitRow> = read.fetch_all(AssertSqlSafe(sql), values).await?;
        for row in rows {
            found.push(Limit::try_from(row)?);
        }
    }
    Ok(found)
}
