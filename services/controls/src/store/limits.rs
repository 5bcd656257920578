//! Limits and their history.

use prost::Message as _;
use runspine_controls_domain::limit::Limit;
use runspine_db::{Args, AssertSqlSafe, DbError, Tx, args};
use runspine_types::{Micros, PLATFORM_TENANT};

use super::rows::LimitRow;
use crate::words::spec_to;

/// The name of the number that grows with each change of a tenant's limits.
#[must_use]
pub fn mark(tenant: &str) -> String {
    format!("limits/{tenant}")
}

/// Every limit that counts for a tenant: its own, and those of the whole mesh.
///
/// # Errors
/// When the store fails.
pub async fn all(tx: &mut Tx, tenant: &str) -> Result<Vec<Limit>, DbError> {
    let sql = format!(
        "SELECT {} FROM limits WHERE tenant_id = $1 OR (tenant_id = $2 AND scope = 1) ORDER BY limit_key",
        LimitRow::COLUMNS
    );
    let rows: Vec<LimitRow> = tx.fetch_all(AssertSqlSafe(sql), args![tenant, PLATFORM_TENANT]).await?;
    rows.into_iter().map(Limit::try_from).collect()
}

/// One limit.
///
/// # Errors
/// When the store fails.
pub async fn one(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<Limit>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql =
        format!("SELECT {} FROM limits WHERE tenant_id = $1 AND limit_id = $2{lock}", LimitRow::COLUMNS);
    let row: Option<LimitRow> = tx.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await?;
    row.map(Limit::try_from).transpose()
}

/// How many limits of its own a tenant has, and whether one of all has this name.
///
/// # Errors
/// When the store fails.
pub async fn count(tx: &mut Tx, tenant: &str, name: &str) -> Result<(i64, Option<String>), DbError> {
    let (count,): (i64,) = tx
        .fetch_one("SELECT COUNT(*) FROM limits WHERE tenant_id = $1 AND source <> 3", args![tenant])
        .await?;
    let sql = "SELECT limit_id FROM limits WHERE tenant_id = $1 AND name = $2";
    let named: Option<(String,)> = tx.fetch_optional(sql, args![tenant, name]).await?;
    Ok((count, named.map(|n| n.0)))
}

/// Columns of a new limit.
pub(super) const COLUMNS: [&str; 12] = [
    "limit_id",
    "tenant_id",
    "name",
    "scope",
    "scope_id",
    "category",
    "state",
    "source",
    "version",
    "spec",
    "created_at",
    "updated_at",
];
/// Columns of a version of a limit.
pub(super) const VERSION_COLUMNS: [&str; 7] =
    ["limit_key", "version", "state", "spec", "reason", "actor_id", "at"];

/// A new limit as a row.
pub(super) fn row(tenant: &str, limit: &Limit) -> Args {
    args![
        &limit.id,
        tenant,
        &limit.spec.name,
        limit.spec.scope.code(),
        &limit.spec.scope_id,
        limit.spec.category.code(),
        limit.state.code(),
        limit.source.code(),
        limit.version,
        spec_to(&limit.spec).encode_to_vec(),
        limit.created_at,
        limit.updated_at
    ]
}

/// Adds a limit and answers with it, its key set.
///
/// # Errors
/// When the store fails.
pub async fn add(tx: &mut Tx, tenant: &str, limit: Limit, actor: &str) -> Result<Limit, DbError> {
    tx.insert_rows("limits", &COLUMNS, vec![row(tenant, &limit)], "").await?;
    let sql = "SELECT limit_key FROM limits WHERE limit_id = $1";
    let (key,): (i64,) = tx.fetch_one(sql, args![&limit.id]).await?;
    let limit = Limit { key, ..limit };
    record(tx, tenant, &limit, "", actor).await?;
    Ok(limit)
}

/// Writes a changed limit, when its version is still the one before.
///
/// # Errors
/// When the store fails.
pub async fn change(
    tx: &mut Tx,
    tenant: &str,
    limit: &Limit,
    reason: &str,
    actor: &str,
) -> Result<bool, DbError> {
    let sql = "UPDATE limits SET state = $1, version = $2, spec = $3, updated_at = $4 \
               WHERE tenant_id = $5 AND limit_id = $6 AND version = $7";
    let spec = spec_to(&limit.spec).encode_to_vec();
    let row = args![
        limit.state.code(),
        limit.version,
        spec,
        limit.updated_at,
        tenant,
        &limit.id,
        limit.version - 1
    ];
    if tx.execute(sql, row).await? == 0 {
        return Ok(false);
    }
    record(tx, tenant, limit, reason, actor).await?;
    Ok(true)
}

async fn record(tx: &mut Tx, tenant: &str, limit: &Limit, reason: &str, actor: &str) -> Result<(), DbError> {
    let spec = spec_to(&limit.spec).encode_to_vec();
    let row = args![limit.key, limit.version, limit.state.code(), spec, reason, actor, limit.updated_at];
    tx.insert_rows("limit_versions", &VERSION_COLUMNS, vec![row], "").await?;
    bump(tx, &mark(tenant)).await?;
    Ok(())
}

/// Raises a number that tells whether something changed, and answers with it.
///
/// # Errors
/// When the store fails.
pub async fn bump(tx: &mut Tx, name: &str) -> Result<u64, DbError> {
    let sql = "INSERT INTO marks (name, value) VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET value = marks.value + 1";
    tx.execute(sql, args![name]).await?;
    let (value,): (u64,) = tx.fetch_one("SELECT value FROM marks WHERE name = $1", args![name]).await?;
    Ok(value)
}

/// The current periods of a limit's envelopes that owe something: a raised limit pays them.
///
/// # Errors
/// When the store fails.
pub async fn indebted(tx: &mut Tx, limit_key: i64) -> Result<Vec<(i64, Micros)>, DbError> {
    let sql = "SELECT p.envelope_key, p.period_start FROM envelope_periods p \
               JOIN envelopes e ON e.envelope_key = p.envelope_key \
               WHERE e.limit_key = $1 AND p.closed = 0 AND p.debt > 0 ORDER BY p.envelope_key";
    tx.fetch_all(sql, args![limit_key]).await
}

/// The current periods of a limit's envelopes that have breaches which are not over.
///
/// # Errors
/// When the store fails.
pub async fn breached(tx: &mut Tx, limit_key: i64) -> Result<Vec<(i64, Micros)>, DbError> {
    let sql = "SELECT DISTINCT b.envelope_key, b.period_start FROM breaches b \
               JOIN envelopes e ON e.envelope_key = b.envelope_key \
               JOIN envelope_periods p ON p.envelope_key = b.envelope_key AND p.period_start = b.period_start \
               WHERE e.limit_key = $1 AND p.closed = 0 \
               AND b.breach_id NOT IN (SELECT breach_id FROM breach_recoveries) ORDER BY b.envelope_key";
    tx.fetch_all(sql, args![limit_key]).await
}
