//! The public half of every key that ever signed here.

use runspine_db::{DbError, Read, Tx, args};
use runspine_types::Micros;

/// `signing_key_events.kind` of a key that another took the place of.
const RETIRED: i64 = 1;
/// `signing_key_events.kind` of a key that is not trusted from a time on.
const REVOKED: i64 = 2;

runspine_db::row! {
    /// A key with what became of it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct KeyRow {
        /// Its name.
        pub key_id: String,
        /// What it signs.
        pub purpose: i32,
        /// Ed25519, 32 bytes.
        pub public_key: Vec<u8>,
        /// When it was first seen.
        pub created_at: Micros,
        /// When another took its place.
        pub retired_at: Option<Micros>,
        /// From when on it is not trusted.
        pub revoked_from: Option<Micros>,
    }
}

/// Makes `key` the active key of its purpose, and retires the one before; says whether it is new. A key that was here
/// before stays what it is.
pub async fn activate(tx: &mut Tx, key: &KeyRow, now: Micros, reason: &str) -> Result<bool, DbError> {
    let sql = "INSERT INTO signing_keys (key_id, purpose, public_key, created_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT DO NOTHING";
    let new = tx.execute(sql, args![&key.key_id, key.purpose, &key.public_key, key.created_at]).await?;
    if new == 0 {
        return Ok(false);
    }
    let sql = "INSERT INTO signing_key_events (key_id, kind, at, reason) SELECT k.key_id, 1, CAST($1 AS BIGINT), \
               CAST($4 AS TEXT) FROM signing_keys k WHERE k.purpose = $2 AND k.key_id <> $3 \
               AND NOT EXISTS (SELECT 1 FROM signing_key_events e WHERE e.key_id = k.key_id AND e.kind = 1)";
    tx.execute(sql, args![now, key.purpose, &key.key_id, reason]).await?;
    Ok(true)
}

/// Takes the trust from a key, from `revoked_from` on.
pub async fn revoke(tx: &mut Tx, key_id: &str, revoked_from: Micros, reason: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO signing_key_events (key_id, kind, at, reason) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![key_id, REVOKED, revoked_from, reason]).await?;
    Ok(())
}

/// Every key, by purpose, the newest first.
pub async fn all(read: &Read) -> Result<Vec<KeyRow>, DbError> {
    read.fetch_all(ALL, args![RETIRED, REVOKED]).await
}

/// The same inside a transaction.
pub async fn all_in(tx: &mut Tx) -> Result<Vec<KeyRow>, DbError> {
    tx.fetch_all(ALL, args![RETIRED, REVOKED]).await
}

const ALL: &str = "SELECT k.key_id, k.purpose, k.public_key, k.created_at, \
    (SELECT MAX(e.at) FROM signing_key_events e WHERE e.key_id = k.key_id AND e.kind = $1) AS retired_at, \
    (SELECT MIN(e.at) FROM signing_key_events e WHERE e.key_id = k.key_id AND e.kind = $2) AS revoked_from \
    FROM signing_keys k ORDER BY k.purpose, k.created_at DESC, k.key_id";

/// The tenants for whom a key signed a seal, a checkpoint, an export or a certificate.
pub async fn tenants(tx: &mut Tx, key_id: &str) -> Result<Vec<String>, DbError> {
    let sql = "SELECT t.tenant_id FROM trace_seals s JOIN traces t ON t.trace_key = s.trace_key WHERE s.key_id = $1 \
               UNION SELECT c.log FROM checkpoints c WHERE c.key_id = $1 AND c.log <> 'mesh' \
               UNION SELECT x.tenant_id FROM export_events e JOIN exports x ON x.export_id = e.export_id WHERE e.key_id = $1 \
               UNION SELECT c.tenant_id FROM certificates c WHERE c.key_id = $1 ORDER BY 1";
    let found: Vec<(String,)> = tx.fetch_all(sql, args![key_id]).await?;
    Ok(found.into_iter().map(|(tenant,)| tenant).collect())
}
