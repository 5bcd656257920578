//! Named leases.

use runspine_controls_domain::coordination::NamedLease;
use runspine_db::{AssertSqlSafe, DbError, Tx, args};
use runspine_types::Micros;

runspine_db::row! {
    /// A named lease.
    #[derive(Debug, Clone)]
    struct LeaseRow {
        holder: String,
        fence: u64,
        expires_at: Option<Micros>,
        last_done: Option<Micros>,
    }
}

/// A lease, made when nobody has asked for it yet, and locked on PostgreSQL.
///
/// # Errors
/// When the store fails.
pub async fn ensure(tx: &mut Tx, tenant: &str, name: &str) -> Result<NamedLease, DbError> {
    let columns = ["tenant_id", "name", "holder", "fence"];
    let row = args![tenant, name, "", 0_i64];
    tx.insert_rows("named_leases", &columns, vec![row], "ON CONFLICT DO NOTHING").await?;
    Ok(one(tx, tenant, name).await?.unwrap_or_default())
}

/// A lease, locked on PostgreSQL.
///
/// # Errors
/// When the store fails.
pub async fn one(tx: &mut Tx, tenant: &str, name: &str) -> Result<Option<NamedLease>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql =
        format!("SELECT {} FROM named_leases WHERE tenant_id = $1 AND name = $2{lock}", LeaseRow::COLUMNS);
    let row: Option<LeaseRow> = tx.fetch_optional(AssertSqlSafe(sql), args![tenant, name]).await?;
    Ok(row.map(|r| NamedLease {
        holder: r.holder,
        fence: r.fence,
        expires_at: r.expires_at,
        last_done: r.last_done,
    }))
}

/// Writes a lease.
///
/// # Errors
/// When the store fails.
pub async fn save(tx: &mut Tx, tenant: &str, name: &str, lease: &NamedLease) -> Result<(), DbError> {
    let sql = "UPDATE named_leases SET holder = $1, fence = $2, expires_at = $3, last_done = $4 \
               WHERE tenant_id = $5 AND name = $6";
    tx.execute(sql, args![&lease.holder, lease.fence, lease.expires_at, lease.last_done, tenant, name])
        .await?;
    Ok(())
}
