//! Dispatch records: append-only, found by operation, actor, outcome, run and time.

use std::collections::HashMap;

use bytes::Bytes;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, Value, args};
use runspine_types::{Digest, Micros};

use super::newest::Newest;

/// A record to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDispatch {
    /// Its tenant.
    pub tenant_id: String,
    /// Its id.
    pub dispatch_id: String,
    /// The operation.
    pub operation: String,
    /// What kind of actor called.
    pub actor_type: i32,
    /// Which actor.
    pub actor_id: String,
    /// The authority's number.
    pub authority: i32,
    /// The outcome's number.
    pub outcome: i32,
    /// The run.
    pub run_id: String,
    /// When it came in.
    pub occurred_at: Micros,
    /// When it is recorded.
    pub recorded_at: Micros,
    /// Digest of the record without what the service sets.
    pub digest: Digest,
    /// The record's bytes.
    pub record: Bytes,
}

/// Which records of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DispatchFilter {
    /// The operation.
    pub operation: Option<String>,
    /// What kind of actor.
    pub actor_type: Option<i32>,
    /// Which actor.
    pub actor_id: Option<String>,
    /// The outcome's number.
    pub outcome: Option<i32>,
    /// The authority's number.
    pub authority: Option<i32>,
    /// The run.
    pub run_id: Option<String>,
    /// Occurred at or after.
    pub occurred_from: Option<Micros>,
    /// Occurred before.
    pub occurred_to: Option<Micros>,
}

runspine_db::row! {
    /// A record.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DispatchRow {
        /// Its number.
        pub id: i64,
        /// When it came in.
        pub occurred_at: Micros,
        /// Its bytes.
        pub record: Bytes,
    }
}

const COLUMNS: &[&str] = &[
    "tenant_id",
    "dispatch_id",
    "operation",
    "actor_type",
    "actor_id",
    "authority",
    "outcome",
    "run_id",
    "occurred_at",
    "recorded_at",
    "digest",
    "record",
];

/// Keeps records with one statement; those that are there already are left as they are. Says how many were new.
///
/// # Errors
/// When the store refuses it.
pub async fn insert(tx: &mut Tx, records: &[NewDispatch]) -> Result<u64, DbError> {
    let row = |d: &NewDispatch| {
        args![
            &d.tenant_id,
            &d.dispatch_id,
            &d.operation,
            d.actor_type,
            &d.actor_id,
            d.authority,
            d.outcome,
            &d.run_id,
            d.occurred_at,
            d.recorded_at,
            d.digest,
            &d.record,
        ]
    };
    let rows: Vec<Args> = records.iter().map(row).collect();
    tx.insert_rows("dispatch_records", COLUMNS, rows, "ON CONFLICT (tenant_id, dispatch_id) DO NOTHING").await
}

/// Digests of the records that are there.
///
/// # Errors
/// When the store can't be read.
pub async fn digests<'a>(
    tx: &mut Tx,
    tenant: &str,
    ids: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, Digest>, DbError> {
    let mut args = args![tenant];
    args.extend(ids.map(Value::from));
    let places: Vec<String> = (2..=args.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT dispatch_id, digest FROM dispatch_records WHERE tenant_id = $1 AND dispatch_id IN ({})",
        places.join(", ")
    );
    let rows: Vec<(String, Digest)> = tx.fetch_all(AssertSqlSafe(sql), args).await?;
    Ok(rows.into_iter().collect())
}

/// At most `limit` records of `tenant` behind `after` (time and number), newest first.
///
/// # Errors
/// When the store can't be read.
pub async fn list(
    read: &Read,
    tenant: &str,
    filter: &DispatchFilter,
    after: Option<(i64, i64)>,
    limit: i64,
) -> Result<Vec<DispatchRow>, DbError> {
    let select = format!("SELECT {} FROM dispatch_records WHERE tenant_id = $1", DispatchRow::COLUMNS);
    Newest::of(&select, args![tenant], ["occurred_at", "id"])
        .and("operation =", filter.operation.as_deref())
        .and("actor_type =", filter.actor_type)
        .and("actor_id =", filter.actor_id.as_deref())
        .and("outcome =", filter.outcome)
        .and("authority =", filter.authority)
        // The index of runs leaves out records without one; both engines use it only when told so.
        .and("run_id <> '' AND run_id =", filter.run_id.as_deref())
        .and("occurred_at >=", filter.occurred_from)
        .and("occurred_at <", filter.occurred_to)
        .page(read, after, limit)
        .await
}
