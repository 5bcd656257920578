//! The limits that guardrails are, what those that count have counted, and those that tripped.

use prost::Message as _;
use runspine_controls_domain::{
    breaker::Counts,
    guardrail::FAILURES_WINDOW_S,
    limit::{Key, Limit},
};
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::Micros;

use super::{
    limits::{self, COLUMNS, VERSION_COLUMNS},
    rows::{LimitRow, unreadable},
};
use crate::words::spec_to;

/// Steps and failures within the window of a guardrail.
pub type FailureCounts = Counts<FAILURES_WINDOW_S>;

/// Adds guardrails that a tenant lacks, and answers with those that nobody added before. The number of the tenant's
/// changes stays: every set of limits that is read has its guardrails.
///
/// # Errors
/// When the store fails.
pub async fn add(tx: &mut Tx, tenant: &str, missing: &[Limit], actor: &str) -> Result<Vec<Limit>, DbError> {
    let rows = missing.iter().map(|limit| limits::row(tenant, limit)).collect();
    let conflict = "ON CONFLICT DO NOTHING";
    let fresh: Vec<LimitRow> =
        tx.insert_rows_returning("limits", &COLUMNS, rows, conflict, LimitRow::COLUMNS).await?;
    let fresh: Vec<Limit> = fresh.into_iter().map(Limit::try_from).collect::<Result<_, _>>()?;
    let rows: Vec<Args> = fresh
        .iter()
        .map(|limit| {
            let spec = spec_to(&limit.spec).encode_to_vec();
            args![limit.key, limit.version, limit.state.code(), spec, "", actor, limit.updated_at]
        })
        .collect();
    if !rows.is_empty() {
        tx.insert_rows("limit_versions", &VERSION_COLUMNS, rows, "").await?;
    }
    Ok(fresh)
}

/// The limits of a tenant that are guardrails.
///
/// # Errors
/// When the store fails.
pub async fn all(read: &Read, tenant: &str) -> Result<Vec<Limit>, DbError> {
    let sql = format!(
        "SELECT {} FROM limits WHERE tenant_id = $1 AND source = 3 ORDER BY limit_key",
        LimitRow::COLUMNS
    );
    let rows: Vec<LimitRow> = read.fetch_all(AssertSqlSafe(sql), args![tenant]).await?;
    rows.into_iter().map(Limit::try_from).collect()
}

/// What was counted under an envelope, which has to be locked.
///
/// # Errors
/// When the store fails.
pub async fn counts(tx: &mut Tx, envelope: Key) -> Result<FailureCounts, DbError> {
    let sql = "SELECT counts FROM guardrail_states WHERE envelope_key = $1";
    let stored: Option<(String,)> = tx.fetch_optional(sql, args![envelope]).await?;
    let text = stored.map(|row| row.0).unwrap_or_default();
    FailureCounts::from_text(&text).ok_or_else(|| unreadable("guardrail_states.counts"))
}

/// Writes what was counted.
///
/// # Errors
/// When the store fails.
pub async fn keep_counts(
    tx: &mut Tx,
    envelope: Key,
    counts: &FailureCounts,
    now: Micros,
) -> Result<(), DbError> {
    let row = args![envelope, counts.to_text(), now];
    let upsert =
        "ON CONFLICT (envelope_key) DO UPDATE SET counts = excluded.counts, counted_at = excluded.counted_at";
    tx.insert_rows("guardrail_states", &["envelope_key", "counts", "counted_at"], vec![row], upsert).await?;
    Ok(())
}

runspine_db::row! {
    /// A guardrail that tripped and freezes.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct TripRow {
        pub breach_id: String,
        pub tenant_id: String,
        pub guardrail: i32,
        pub scope_id: String,
        pub value: i64,
        pub limit_value: i64,
        pub tripped_at: Micros,
        pub freeze_until: Micros,
    }
}

/// Notes guardrails that tripped.
///
/// # Errors
/// When the store fails.
pub async fn tripped(tx: &mut Tx, trips: &[TripRow]) -> Result<(), DbError> {
    let columns = [
        "breach_id",
        "tenant_id",
        "guardrail",
        "scope_id",
        "value",
        "limit_value",
        "tripped_at",
        "freeze_until",
        "freeze_id",
    ];
    let row = |t: &TripRow| {
        args![
            &t.breach_id,
            &t.tenant_id,
            t.guardrail,
            &t.scope_id,
            t.value,
            t.limit_value,
            t.tripped_at,
            t.freeze_until,
            ""
        ]
    };
    if !trips.is_empty() {
        tx.insert_rows("guardrail_trips", &columns, trips.iter().map(row).collect(), "").await?;
    }
    Ok(())
}

/// Trips whose freeze is not committed yet, oldest first.
///
/// # Errors
/// When the store fails.
pub async fn open_trips(read: &Read, most: i64) -> Result<Vec<TripRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM guardrail_trips WHERE freeze_id = '' ORDER BY trip_key LIMIT $1",
        TripRow::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args![most]).await
}

/// Notes the freeze of a trip; false: another has done so.
///
/// # Errors
/// When the store fails.
pub async fn froze(tx: &mut Tx, breach_id: &str, freeze_id: &str) -> Result<bool, DbError> {
    let sql = "UPDATE guardrail_trips SET freeze_id = $1 WHERE breach_id = $2 AND freeze_id = ''";
    Ok(tx.execute(sql, args![freeze_id, breach_id]).await? > 0)
}
