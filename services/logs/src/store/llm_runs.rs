//! What attempts used of language models: append-only, one row an attempt.

use bytes::Bytes;
use contracts_logs::v1::{self as pb, LlmRun};
use prost::Message as _;
use prost_types::Timestamp;
use runspine_db::{AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::Micros;

use super::newest::Newest;

/// Which records of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LlmRunFilter {
    /// The runs; empty for any.
    pub run_ids: Vec<String>,
    /// The provider.
    pub provider: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// How it ended.
    pub status: Option<i32>,
    /// Where it comes from.
    pub source: Option<i32>,
    /// Whether the run is synthetic.
    pub synthetic: Option<bool>,
    /// Sealed at or after.
    pub completed_from: Option<Micros>,
    /// Sealed before.
    pub completed_to: Option<Micros>,
    /// With a number up to this.
    pub up_to: Option<i64>,
}

impl From<pb::LlmRunFilter> for LlmRunFilter {
    /// What was asked for; an empty field narrows nothing.
    fn from(given: pb::LlmRunFilter) -> Self {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let time = |at: Option<Timestamp>| at.map(|at| Micros::from_timestamp(at.seconds, at.nanos));
        Self {
            run_ids: given.run_ids,
            provider: some(given.provider),
            model: some(given.model),
            status: (given.status != 0).then_some(given.status),
            source: (given.source != 0).then_some(given.source),
            synthetic: given.synthetic,
            completed_from: time(given.completed_from),
            completed_to: time(given.completed_to),
            up_to: None,
        }
    }
}

runspine_db::row! {
    /// A record.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct LlmRunRow {
        /// Its number.
        pub id: i64,
        /// When the trace was sealed.
        pub completed_at: Micros,
        /// Its bytes.
        pub record: Bytes,
    }
}

/// Keeps the record of an attempt.
///
/// # Errors
/// When the store fails, or the attempt has one.
pub async fn insert(tx: &mut Tx, tenant_id: &str, run: &LlmRun, completed_at: Micros) -> Result<(), DbError> {
    let sql = "INSERT INTO llm_run_records (tenant_id, run_id, attempt, provider, model, execution_status, source, \
               is_synthetic, completed_at, record) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let synthetic = i64::from(!run.synthetic_scenario_id.is_empty());
    let args = args![
        tenant_id,
        &run.run_id,
        run.attempt,
        &run.provider,
        &run.model,
        run.execution_status,
        run.source,
        synthetic,
        completed_at,
        run.encode_to_vec(),
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// The record of an attempt; the latest for attempt 0.
///
/// # Errors
/// When the store can't be read.
pub async fn get(
    read: &Read,
    tenant_id: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Option<LlmRunRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM llm_run_records WHERE tenant_id = $1 AND run_id = $2 AND ($3 = 0 OR attempt = $3) \
         ORDER BY attempt DESC LIMIT 1",
        LlmRunRow::COLUMNS
    );
    read.fetch_optional(AssertSqlSafe(sql), args![tenant_id, run_id, i64::from(attempt)]).await
}

/// At most `limit` records of `tenant` behind `after` (time and number), newest first.
///
/// # Errors
/// When the store can't be read.
pub async fn list(
    read: &Read,
    tenant: &str,
    filter: &LlmRunFilter,
    after: Option<(i64, i64)>,
    limit: i64,
) -> Result<Vec<LlmRunRow>, DbError> {
    let select = format!("SELECT {} FROM llm_run_records WHERE tenant_id = $1", LlmRunRow::COLUMNS);
    Newest::of(&select, args![tenant], ["completed_at", "id"])
        .and("provider =", filter.provider.as_deref())
        .and("model =", filter.model.as_deref())
        .and("execution_status =", filter.status)
        .and("source =", filter.source)
        .and("is_synthetic =", filter.synthetic)
        .and("completed_at >=", filter.completed_from)
        .and("completed_at <", filter.completed_to)
        .any_of("run_id", &filter.run_ids)
        .and("id <=", filter.up_to)
        .page(read, after, limit)
        .await
}

/// Number of the last record, whoever's it is; 0: there is none.
///
/// # Errors
/// When the store can't be read.
pub async fn last(tx: &mut Tx) -> Result<i64, DbError> {
    let sql = "SELECT COALESCE(MAX(id), 0) FROM llm_run_records";
    Ok(tx.fetch_one::<(i64,)>(sql, args![]).await?.0)
}
