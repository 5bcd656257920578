//! Seals.

use bytes::Bytes;
use runspine_db::{AssertSqlSafe, DbError, Read, Tuples, Tx, args};
use runspine_types::{Digest, Micros};

runspine_db::row! {
    /// A seal as it was signed.
    #[derive(Debug, Clone)]
    pub struct SealRow {
        /// The trace.
        pub trace_key: i64,
        /// The seal's bytes.
        pub seal: Bytes,
        /// Ed25519, 64 bytes.
        pub signature: Bytes,
        /// SHA-256 of the signed bytes.
        pub seal_digest: Digest,
        /// The key.
        pub key_id: String,
        /// When it was signed.
        pub sealed_at: Micros,
        /// Digest of the request that sealed it.
        pub request_digest: Digest,
        /// The answer that was given.
        pub answer: Bytes,
    }
}

/// Stores a seal.
pub async fn insert(tx: &mut Tx, row: &SealRow) -> Result<(), DbError> {
    let sql = "INSERT INTO trace_seals (trace_key, seal, signature, seal_digest, key_id, sealed_at, request_digest, \
               answer) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let args = args![
        row.trace_key,
        &row.seal,
        &row.signature,
        row.seal_digest,
        &row.key_id,
        row.sealed_at,
        row.request_digest,
        &row.answer,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// The seal of a trace.
pub async fn find(tx: &mut Tx, trace_key: i64) -> Result<Option<SealRow>, DbError> {
    tx.fetch_optional(AssertSqlSafe(sql()), args![trace_key]).await
}

/// The same outside a transaction.
pub async fn read(read: &Read, trace_key: i64) -> Result<Option<SealRow>, DbError> {
    read.fetch_optional(AssertSqlSafe(sql()), args![trace_key]).await
}

fn sql() -> String {
    format!("SELECT {} FROM trace_seals WHERE trace_key = $1", SealRow::COLUMNS)
}

/// The seals of many traces, with one statement.
pub async fn of_many(read: &Read, trace_keys: &[i64]) -> Result<Vec<SealRow>, DbError> {
    let mut tuples = Tuples::new(1);
    trace_keys.iter().for_each(|key| tuples.push(args![*key]));
    let mut found = Vec::with_capacity(trace_keys.len());
    for (values, args) in tuples.parts(read.dialect()) {
        let sql =
            format!("SELECT s.* FROM {values} AS w CROSS JOIN trace_seals s WHERE s.trace_key = w.column1");
        found.extend(read.fetch_all::<SealRow>(AssertSqlSafe(sql), args).await?);
    }
    Ok(found)
}
