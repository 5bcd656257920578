//! Salts and keys of digests. They are columns that can be emptied; what was hashed with them stays.

use runspine_db::{DbError, Read, Tx, args};

/// The salt of a run, made from `random` at its first attempt. `None` after it was erased.
pub async fn digest_salt(
    tx: &mut Tx,
    tenant_id: &str,
    run_id: &str,
    random: [u8; 32],
) -> Result<Option<Vec<u8>>, DbError> {
    let sql =
        "INSERT INTO run_secrets (tenant_id, run_id, digest_salt) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    tx.execute(sql, args![tenant_id, run_id, random.to_vec()]).await?;
    let sql = "SELECT digest_salt FROM run_secrets WHERE tenant_id = $1 AND run_id = $2";
    Ok(tx.fetch_one::<(Option<Vec<u8>>,)>(sql, args![tenant_id, run_id]).await?.0)
}

/// The parameter key of a tenant, made from `random` at its first trace. `None` after it was erased.
pub async fn parameter_key(
    tx: &mut Tx,
    tenant_id: &str,
    random: [u8; 32],
) -> Result<Option<Vec<u8>>, DbError> {
    let sql = "INSERT INTO tenant_secrets (tenant_id, parameter_key) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    tx.execute(sql, args![tenant_id, random.to_vec()]).await?;
    let sql = "SELECT parameter_key FROM tenant_secrets WHERE tenant_id = $1";
    Ok(tx.fetch_one::<(Option<Vec<u8>>,)>(sql, args![tenant_id]).await?.0)
}

/// Whether the salt of a run was erased.
pub async fn salt_erased(read: &Read, tenant_id: &str, run_id: &str) -> Result<bool, DbError> {
    let sql = "SELECT CASE WHEN digest_salt IS NULL THEN 1 ELSE 0 END FROM run_secrets \
               WHERE tenant_id = $1 AND run_id = $2";
    Ok(read.fetch_optional::<(bool,)>(sql, args![tenant_id, run_id]).await?.is_some_and(|(erased,)| erased))
}
