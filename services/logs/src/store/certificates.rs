//! Certificates and their revocations.

use bytes::Bytes;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::Micros;

runspine_db::row! {
    /// A certificate with what became of it.
    #[derive(Debug, Clone)]
    pub struct CertificateRow {
        /// Stands for its place among all.
        pub id: i64,
        /// Its id.
        pub certificate_id: String,
        /// What it states.
        pub kind: i32,
        /// The run.
        pub run_id: String,
        /// The attempt; 0 for all.
        pub attempt: u32,
        /// The replay; empty for none.
        pub replay_id: String,
        /// The export; empty for none.
        pub export_id: String,
        /// What was signed.
        pub payload: String,
        /// Ed25519, 64 bytes.
        pub signature: Bytes,
        /// The key.
        pub key_id: String,
        /// When it was issued.
        pub issued_at: Micros,
        /// When it was revoked.
        pub revoked_at: Option<Micros>,
        /// Why it was revoked.
        pub revocation: Option<String>,
    }
}

const FROM: &str = "SELECT c.id, c.certificate_id, c.kind, c.run_id, c.attempt, c.replay_id, c.export_id, c.payload, c.signature, c.key_id, \
                    c.issued_at, e.at AS revoked_at, e.reason AS revocation FROM certificates c \
                    LEFT JOIN certificate_events e ON e.certificate_id = c.certificate_id WHERE c.tenant_id = $1";

/// What certificates have in common.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// What they state.
    pub kind: Option<i32>,
    /// The run.
    pub run_id: Option<String>,
    /// Revoked or not.
    pub revoked: Option<bool>,
}

/// Stores a certificate; its number is given by the store.
pub async fn insert(tx: &mut Tx, tenant_id: &str, row: &CertificateRow) -> Result<(), DbError> {
    let sql = "INSERT INTO certificates (certificate_id, tenant_id, kind, run_id, attempt, payload, signature, key_id, \
               issued_at, replay_id, export_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let args = args![
        &row.certificate_id,
        tenant_id,
        row.kind,
        &row.run_id,
        row.attempt,
        &row.payload,
        &row.signature,
        &row.key_id,
        row.issued_at,
        &row.replay_id,
        &row.export_id,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Notes that a certificate was revoked.
pub async fn revoke(
    tx: &mut Tx,
    certificate_id: &str,
    (reason, actor_id): (&str, &str),
    at: Micros,
) -> Result<(), DbError> {
    let sql = "INSERT INTO certificate_events (certificate_id, reason, actor_id, at) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![certificate_id, reason, actor_id, at]).await?;
    Ok(())
}

/// One certificate.
pub async fn find(read: &Read, tenant_id: &str, id: &str) -> Result<Option<CertificateRow>, DbError> {
    let sql = format!("{FROM} AND c.certificate_id = $2");
    read.fetch_optional(AssertSqlSafe(sql), args![tenant_id, id]).await
}

/// The same inside a transaction.
pub async fn find_in(tx: &mut Tx, tenant_id: &str, id: &str) -> Result<Option<CertificateRow>, DbError> {
    let sql = format!("{FROM} AND c.certificate_id = $2");
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant_id, id]).await
}

/// Certificates, newest first, those before `before`.
pub async fn list(
    read: &Read,
    tenant_id: &str,
    filter: &Filter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<CertificateRow>, DbError> {
    let mut sql = FROM.to_owned();
    let mut args: Args = args![tenant_id];
    let narrow: [(&str, Option<runspine_db::Value>); 3] = [
        ("c.kind =", filter.kind.map(Into::into)),
        ("c.run_id =", filter.run_id.as_ref().map(Into::into)),
        ("c.id <", before.map(Into::into)),
    ];
    for (condition, value) in narrow {
        if let Some(value) = value {
            args.push(value);
            sql.push_str(&format!(" AND {condition} ${}", args.len()));
        }
    }
    match filter.revoked {
        Some(true) => sql.push_str(" AND e.at IS NOT NULL"),
        Some(false) => sql.push_str(" AND e.at IS NULL"),
        None => {}
    }
    args.push(limit.into());
    sql.push_str(&format!(" ORDER BY c.id DESC LIMIT ${}", args.len()));
    read.fetch_all(AssertSqlSafe(sql), args).await
}
