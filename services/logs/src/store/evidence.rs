//! Evidence: a chain an attempt, and the failures beside it.

use bytes::Bytes;
use contracts_logs::v1::TraceHeader;
use prost::Message as _;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, Value, args};
use runspine_logs_domain::chain;
use runspine_types::{Digest, Micros};

/// An attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptKey {
    /// The tenant.
    pub tenant_id: String,
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
}

/// The end of an attempt's chain: what a seal names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvidenceHead {
    /// Items.
    pub count: u64,
    /// Link of the last one; the start of the chain when there is none.
    pub link: Digest,
}

/// A piece of evidence to be kept.
pub struct NewEvidence {
    /// Its place.
    pub seq: u64,
    /// Its id.
    pub evidence_id: String,
    /// Its kind's number.
    pub kind: i32,
    /// The step.
    pub step_index: Option<u32>,
    /// When it was captured.
    pub captured_at: Micros,
    /// When it is recorded.
    pub recorded_at: Micros,
    /// Key of the call.
    pub request_id: String,
    /// Digest of the call.
    pub request_digest: Digest,
    /// Its bytes.
    pub item: Bytes,
    /// Its link.
    pub link: Digest,
}

runspine_db::row! {
    /// A piece of evidence.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct EvidenceRow {
        /// The attempt.
        pub attempt: u32,
        /// Its place.
        pub seq: u64,
        /// Its bytes.
        pub item: Bytes,
        /// Its link.
        pub link: Digest,
    }
}

runspine_db::row! {
    /// What a call stored.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StoredCapture {
        /// Id of the evidence.
        pub evidence_id: String,
        /// Its place.
        pub seq: u64,
        /// Its link.
        pub link: Digest,
        /// Digest of the call.
        pub request_digest: Digest,
    }
}

runspine_db::row! {
    /// A failed capture, or what took its place.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct FailureRow {
        /// Its id.
        pub failure_id: String,
        /// The run.
        pub run_id: String,
        /// The attempt.
        pub attempt: u32,
        /// The step, -1 for none.
        pub step_index: i64,
        /// The kind's number.
        pub kind: i32,
        /// The reason's number.
        pub reason: i32,
        /// For a person.
        pub detail: String,
        /// The resolution's number.
        pub resolution: i32,
        /// 1 for the row that says what took the failure's place.
        pub superseded: bool,
        /// The evidence that took its place.
        pub superseded_by: String,
        /// When it was recorded.
        pub recorded_at: Micros,
    }
}

/// The end of the chain of `key`, inside a transaction.
///
/// # Errors
/// When the store can't be read.
pub async fn head(tx: &mut Tx, key: &AttemptKey) -> Result<EvidenceHead, DbError> {
    let sql = "SELECT seq, link FROM evidence WHERE tenant_id = $1 AND run_id = $2 AND attempt = $3 \
               ORDER BY seq DESC LIMIT 1";
    let last: Option<(u64, Digest)> =
        tx.fetch_optional(sql, args![&key.tenant_id, &key.run_id, key.attempt]).await?;
    let start = || (0, chain::evidence_start(&key.tenant_id, &key.run_id, key.attempt));
    let (count, link) = last.unwrap_or_else(start);
    Ok(EvidenceHead { count, link })
}

/// What the header of an attempt's trace lets observers keep, as bits; nothing when there is no trace.
///
/// # Errors
/// When the store can't be read.
pub async fn inspection_allowed(tx: &mut Tx, key: &AttemptKey) -> Result<u32, DbError> {
    let sql =
        "SELECT header FROM traces WHERE tenant_id = $1 AND run_id = $2 AND attempt = $3 AND addendum = 0";
    let header: Option<(Bytes,)> =
        tx.fetch_optional(sql, args![&key.tenant_id, &key.run_id, key.attempt]).await?;
    let Some((header,)) = header else { return Ok(0) };
    let header = TraceHeader::decode(header)
        .map_err(|error| DbError::Column { column: "traces.header".to_owned(), what: error.to_string() })?;
    Ok(header.inspection_allowed)
}

/// What an earlier call with the same key stored.
///
/// # Errors
/// When the store can't be read.
pub async fn stored(tx: &mut Tx, tenant: &str, request_id: &str) -> Result<Option<StoredCapture>, DbError> {
    let sql = "SELECT evidence_id, seq, link, request_digest FROM evidence WHERE tenant_id = $1 AND request_id = $2";
    tx.fetch_optional(sql, args![tenant, request_id]).await
}

/// The piece that an earlier call with the same key stored.
///
/// # Errors
/// When the store can't be read.
pub async fn by_request(tx: &mut Tx, tenant: &str, request_id: &str) -> Result<Option<EvidenceRow>, DbError> {
    let sql =
        format!("SELECT {} FROM evidence WHERE tenant_id = $1 AND request_id = $2", EvidenceRow::COLUMNS);
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, request_id]).await
}

/// Keeps a piece of evidence.
///
/// # Errors
/// When the store refuses it.
pub async fn insert(tx: &mut Tx, key: &AttemptKey, new: NewEvidence) -> Result<(), DbError> {
    let sql = "INSERT INTO evidence (tenant_id, run_id, attempt, seq, evidence_id, kind, step_index, captured_at, \
               recorded_at, request_id, request_digest, item, link) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let args = args![
        &key.tenant_id,
        &key.run_id,
        key.attempt,
        new.seq,
        new.evidence_id,
        new.kind,
        new.step_index,
        new.captured_at,
        new.recorded_at,
        new.request_id,
        new.request_digest,
        new.item,
        new.link,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

const FAILURE: &[&str] = &[
    "tenant_id",
    "failure_id",
    "run_id",
    "attempt",
    "step_index",
    "kind",
    "reason",
    "detail",
    "resolution",
    "superseded",
    "superseded_by",
    "recorded_at",
];

/// Keeps failures; one that is there already is left as it is.
///
/// # Errors
/// When the store refuses it.
pub async fn insert_failures(tx: &mut Tx, tenant: &str, rows: &[FailureRow]) -> Result<(), DbError> {
    let row = |f: &FailureRow| {
        args![
            tenant,
            &f.failure_id,
            &f.run_id,
            f.attempt,
            f.step_index,
            f.kind,
            f.reason,
            &f.detail,
            f.resolution,
            f.superseded,
            &f.superseded_by,
            f.recorded_at,
        ]
    };
    tx.insert_rows("evidence_failures", FAILURE, rows.iter().map(row).collect(), "ON CONFLICT DO NOTHING")
        .await?;
    Ok(())
}

/// Failures of one kind and step, with what took their place.
///
/// # Errors
/// When the store can't be read.
pub async fn failures_of(
    tx: &mut Tx,
    key: &AttemptKey,
    kind: i32,
    step_index: i64,
) -> Result<Vec<FailureRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM evidence_failures WHERE tenant_id = $1 AND run_id = $2 AND attempt = $3 AND kind = $4 \
         AND step_index = $5 ORDER BY id",
        FailureRow::COLUMNS
    );
    let args = args![&key.tenant_id, &key.run_id, key.attempt, kind, step_index];
    tx.fetch_all(AssertSqlSafe(sql), args).await
}

/// At most `limit` pieces of evidence of a run behind `after` (attempt and place).
///
/// # Errors
/// When the store can't be read.
pub async fn list(
    read: &Read,
    (tenant, run_id): (&str, &str),
    attempt: Option<u32>,
    kinds: &[i32],
    after: Option<(u32, u64)>,
    limit: i64,
) -> Result<Vec<EvidenceRow>, DbError> {
    let (conditions, mut args) = conditions((tenant, run_id), attempt, kinds);
    let mut bind = |value: Value| {
        args.push(value);
        format!("${}", args.len())
    };
    let after = after.map_or_else(String::new, |(attempt, seq)| {
        format!(" AND (attempt, seq) > ({}, {})", bind(attempt.into()), bind(seq.into()))
    });
    let limit = bind(limit.into());
    let sql = format!(
        "SELECT {} FROM evidence WHERE {conditions}{after} ORDER BY attempt, seq LIMIT {limit}",
        EvidenceRow::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args).await
}

/// Every failure of a run, with what took their place.
///
/// # Errors
/// When the store can't be read.
pub async fn list_failures(
    read: &Read,
    run: (&str, &str),
    attempt: Option<u32>,
    kinds: &[i32],
) -> Result<Vec<FailureRow>, DbError> {
    let (conditions, args) = conditions(run, attempt, kinds);
    let columns = FailureRow::COLUMNS;
    let sql = format!("SELECT {columns} FROM evidence_failures WHERE {conditions} ORDER BY attempt, id");
    read.fetch_all(AssertSqlSafe(sql), args).await
}

fn conditions((tenant, run_id): (&str, &str), attempt: Option<u32>, kinds: &[i32]) -> (String, Args) {
    let mut args = args![tenant, run_id];
    let mut sql = "tenant_id = $1 AND run_id = $2".to_owned();
    if let Some(attempt) = attempt {
        args.push(attempt.into());
        sql.push_str(" AND attempt = $3");
    }
    if !kinds.is_empty() {
        let first = args.len() + 1;
        args.extend(kinds.iter().map(|kind| Value::from(*kind)));
        let places: Vec<String> = (first..=args.len()).map(|n| format!("${n}")).collect();
        sql.push_str(&format!(" AND kind IN ({})", places.join(", ")));
    }
    (sql, args)
}
