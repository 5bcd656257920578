//! System records: append-only, found by what they are about and when.

use bytes::Bytes;
use contracts_logs::v1::{self as pb, SystemRecord};
use prost::Message as _;
use prost_types::Timestamp;
use runspine_db::{DbError, Read, Tx, args};
use runspine_types::{Digest, Micros};

use super::newest::Newest;

/// Which records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemFilter {
    /// Part of the mesh.
    pub component: Option<i32>,
    /// What happened.
    pub event_type: Option<i32>,
    /// How much it matters.
    pub severity: Option<i32>,
    /// Who or what was behind it.
    pub caused_by: Option<i32>,
    /// What joins them.
    pub correlation_id: Option<String>,
    /// Occurred at or after.
    pub occurred_from: Option<Micros>,
    /// Occurred before.
    pub occurred_to: Option<Micros>,
    /// With a number up to this.
    pub up_to: Option<i64>,
}

impl From<pb::SystemRecordFilter> for SystemFilter {
    /// What was asked for; an empty field narrows nothing.
    fn from(given: pb::SystemRecordFilter) -> Self {
        let some = |number: i32| (number != 0).then_some(number);
        let time = |at: Option<Timestamp>| at.map(|at| Micros::from_timestamp(at.seconds, at.nanos));
        Self {
            component: some(given.component),
            event_type: some(given.event_type),
            severity: some(given.severity),
            caused_by: some(given.caused_by),
            correlation_id: (!given.correlation_id.is_empty()).then_some(given.correlation_id),
            occurred_from: time(given.occurred_from),
            occurred_to: time(given.occurred_to),
            up_to: None,
        }
    }
}

runspine_db::row! {
    /// A record.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SystemRow {
        /// Its number.
        pub id: i64,
        /// When it happened.
        pub occurred_at: Micros,
        /// Its bytes.
        pub record: Bytes,
    }
}

/// What an earlier call with the same key stored: digest of the call, and the record.
///
/// # Errors
/// When the store can't be read.
pub async fn stored(tx: &mut Tx, tenant: &str, request_id: &str) -> Result<Option<(Digest, Bytes)>, DbError> {
    let sql = "SELECT request_digest, record FROM system_records WHERE tenant_id = $1 AND request_id = $2";
    tx.fetch_optional(sql, args![tenant, request_id]).await
}

/// The record that was told last of the life of an instance: one of `kinds`.
///
/// # Errors
/// When the store can't be read.
pub async fn last_of(
    tx: &mut Tx,
    tenant: &str,
    (component, instance): (i32, &str),
    kinds: [i32; 3],
) -> Result<Option<Bytes>, DbError> {
    let sql = "SELECT record FROM system_records WHERE tenant_id = $1 AND component = $2 AND instance = $3 \
               AND event_type IN ($4, $5, $6) ORDER BY id DESC LIMIT 1";
    let [a, b, c] = kinds;
    let found: Option<(Bytes,)> = tx.fetch_optional(sql, args![tenant, component, instance, a, b, c]).await?;
    Ok(found.map(|(record,)| record))
}

/// Keeps a record.
///
/// # Errors
/// When the store refuses it.
pub async fn insert(
    tx: &mut Tx,
    (request_id, request_digest): (&str, Digest),
    record: &SystemRecord,
    (occurred_at, recorded_at): (Micros, Micros),
) -> Result<(), DbError> {
    let sql = "INSERT INTO system_records (tenant_id, request_id, request_digest, record_id, component, event_type, \
               severity, caused_by, instance, correlation_id, occurred_at, recorded_at, record) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let args = args![
        &record.tenant_id,
        request_id,
        request_digest,
        &record.id,
        record.component,
        record.event_type,
        record.severity,
        record.caused_by,
        &record.instance,
        &record.correlation_id,
        occurred_at,
        recorded_at,
        record.encode_to_vec(),
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// At most `limit` records of `tenant` behind `after` (time and number), newest first.
///
/// # Errors
/// When the store can't be read.
pub async fn list(
    read: &Read,
    tenant: &str,
    filter: &SystemFilter,
    after: Option<(i64, i64)>,
    limit: i64,
) -> Result<Vec<SystemRow>, DbError> {
    let select = format!("SELECT {} FROM system_records WHERE tenant_id = $1", SystemRow::COLUMNS);
    Newest::of(&select, args![tenant], ["occurred_at", "id"])
        .and("component =", filter.component)
        .and("event_type =", filter.event_type)
        .and("severity =", filter.severity)
        .and("caused_by =", filter.caused_by)
        .and("correlation_id <> '' AND correlation_id =", filter.correlation_id.as_deref())
        .and("occurred_at >=", filter.occurred_from)
        .and("occurred_at <", filter.occurred_to)
        .and("id <=", filter.up_to)
        .page(read, after, limit)
        .await
}

/// Number of the last record, whoever's it is; 0: there is none.
///
/// # Errors
/// When the store can't be read.
pub async fn last(tx: &mut Tx) -> Result<i64, DbError> {
    let sql = "SELECT COALESCE(MAX(id), 0) FROM system_records";
    Ok(tx.fetch_one::<(i64,)>(sql, args![]).await?.0)
}
