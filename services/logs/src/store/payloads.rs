//! Payloads, and the keys that they are encrypted with.

use bytes::Bytes;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::{Digest, Micros};

use super::traces::TraceRef;

/// A payload to be stored.
#[derive(Debug, Clone)]
pub struct NewPayload {
    /// Its reference.
    pub reference: Digest,
    /// Which side of the step: 1 input, 2 output.
    pub direction: i32,
    /// As the agent gave it.
    pub media_type: String,
    /// Bytes before encryption.
    pub size: usize,
    /// Classes and counts in JSON.
    pub redactions: String,
    /// Digest of the person's tag.
    pub subject: Option<Digest>,
    /// Encrypted.
    pub ciphertext: Bytes,
}

runspine_db::row! {
    /// A payload.
    #[derive(Debug, Clone)]
    pub struct PayloadRow {
        /// The run.
        pub run_id: String,
        /// The attempt.
        pub attempt: u32,
        /// Place of its record.
        pub position: u64,
        /// Which side of the step.
        pub direction: i32,
        /// As the agent gave it.
        pub media_type: String,
        /// Classes and counts in JSON.
        pub redactions: String,
        /// Encrypted; none after it was erased.
        pub ciphertext: Option<Bytes>,
        /// When it was stored.
        pub created_at: Micros,
        /// When it was erased.
        pub erased_at: Option<Micros>,
        /// Which erasure; empty for none.
        pub erasure_id: String,
    }
}

const INSERTED: [&str; 14] = [
    "tenant_id",
    "ref",
    "trace_key",
    "run_id",
    "attempt",
    "position",
    "direction",
    "media_type",
    "size",
    "redactions",
    "subject",
    "ciphertext",
    "created_at",
    "erasure_id",
];

/// The row of a payload of the record at `position`.
pub fn row(of: &TraceRef, trace_key: i64, position: u64, new: &NewPayload, now: Micros) -> Args {
    args![
        &of.tenant_id,
        new.reference,
        trace_key,
        &of.run_id,
        of.attempt,
        position,
        new.direction,
        &new.media_type,
        new.size,
        &new.redactions,
        new.subject,
        &new.ciphertext,
        now,
        "",
    ]
}

/// Stores rows that [`row`] made.
pub async fn insert(tx: &mut Tx, rows: Vec<Args>) -> Result<(), DbError> {
    if !rows.is_empty() {
        tx.insert_rows("payloads", &INSERTED, rows, "").await?;
    }
    Ok(())
}

/// A payload by its reference; of several with the same content one that was not erased.
pub async fn find(read: &Read, tenant_id: &str, reference: Digest) -> Result<Option<PayloadRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM payloads WHERE tenant_id = $1 AND ref = $2 \
         ORDER BY CASE WHEN erased_at IS NULL THEN 0 ELSE 1 END, id LIMIT 1",
        PayloadRow::COLUMNS
    );
    read.fetch_optional(AssertSqlSafe(sql), args![tenant_id, reference]).await
}

runspine_db::row! {
    /// What payloads of a run are made and read with.
    #[derive(Debug, Clone)]
    pub struct Secrets {
        /// Salt of its references.
        pub digest_salt: Option<Vec<u8>>,
        /// Wrapped key of its payloads.
        pub data_key: Option<Vec<u8>>,
        /// Key of subjects of the tenant.
        pub parameter_key: Option<Vec<u8>>,
    }
}

/// The secrets of a run.
pub async fn secrets(read: &Read, tenant_id: &str, run_id: &str) -> Result<Option<Secrets>, DbError> {
    let sql = "SELECT r.digest_salt, r.data_key, t.parameter_key FROM run_secrets r \
               JOIN tenant_secrets t ON t.tenant_id = r.tenant_id WHERE r.tenant_id = $1 AND r.run_id = $2";
    read.fetch_optional(sql, args![tenant_id, run_id]).await
}

/// The key of subjects of a tenant.
pub async fn parameter_key(read: &Read, tenant_id: &str) -> Result<Option<Vec<u8>>, DbError> {
    let sql = "SELECT parameter_key FROM tenant_secrets WHERE tenant_id = $1";
    let found: Option<(Option<Vec<u8>>,)> = read.fetch_optional(sql, args![tenant_id]).await?;
    Ok(found.and_then(|(key,)| key))
}

/// Gives a run the key `wrapped`, unless it has one or was erased; gives the one that it has.
pub async fn data_key(
    tx: &mut Tx,
    (tenant_id, run_id): (&str, &str),
    wrapped: &[u8],
) -> Result<Option<Vec<u8>>, DbError> {
    let sql = "UPDATE run_secrets SET data_key = $3 WHERE tenant_id = $1 AND run_id = $2 \
               AND data_key IS NULL AND digest_salt IS NOT NULL";
    tx.execute(sql, args![tenant_id, run_id, wrapped.to_vec()]).await?;
    let sql = "SELECT data_key FROM run_secrets WHERE tenant_id = $1 AND run_id = $2";
    let found: Option<(Option<Vec<u8>>,)> = tx.fetch_optional(sql, args![tenant_id, run_id]).await?;
    Ok(found.and_then(|(key,)| key))
}

/// Whether payloads of a run can still be stored: its key was not destroyed.
pub async fn takes_payloads(tx: &mut Tx, tenant_id: &str, run_id: &str) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM run_secrets WHERE tenant_id = $1 AND run_id = $2 AND data_key IS NOT NULL";
    Ok(tx.fetch_optional::<(i64,)>(sql, args![tenant_id, run_id]).await?.is_some())
}

/// Counts payloads that were not kept.
pub async fn count_denials(tx: &mut Tx, denials: &[(i64, i32, u64)]) -> Result<(), DbError> {
    if denials.is_empty() {
        return Ok(());
    }
    let rows = denials.iter().map(|(trace_key, operation, count)| args![*trace_key, *operation, *count]);
    let upsert =
        "ON CONFLICT (trace_key, operation) DO UPDATE SET count = inspection_denials.count + excluded.count";
    tx.insert_rows("inspection_denials", &["trace_key", "operation", "count"], rows.collect(), upsert)
        .await?;
    Ok(())
}

/// What was not kept of a trace: operation and count.
pub async fn denials(tx: &mut Tx, trace_key: i64) -> Result<Vec<(i32, u64)>, DbError> {
    let sql = "SELECT operation, count FROM inspection_denials WHERE trace_key = $1 ORDER BY operation";
    tx.fetch_all(sql, args![trace_key]).await
}
