//! Settings of a tenant: a version, and the bytes of the message that shows them.

use bytes::Bytes;
use runspine_db::{AssertSqlSafe, DbError, Read, Tx, args};

/// Which settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// Of alerts.
    Alerts,
    /// Of the candidate for the next cost model.
    CostSim,
}

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Alerts => "alert_settings",
            Self::CostSim => "costsim_settings",
        }
    }
}

/// The settings of a tenant, if anybody has set them.
///
/// # Errors
/// When the store fails.
pub async fn shown(read: &Read, table: Table, tenant: &str) -> Result<Option<(u64, Bytes)>, DbError> {
    let sql = format!("SELECT version, body FROM {} WHERE tenant_id = $1 AND version > 0", table.name());
    read.fetch_optional(AssertSqlSafe(sql), args![tenant]).await
}

/// The same inside a transaction, locked on PostgreSQL; version 0: nobody has set anything.
///
/// # Errors
/// When the store fails.
pub async fn locked(tx: &mut Tx, table: Table, tenant: &str) -> Result<(u64, Bytes), DbError> {
    let none = args![tenant, 0_u64, Bytes::new()];
    let columns = ["tenant_id", "version", "body"];
    tx.insert_rows(table.name(), &columns, vec![none], "ON CONFLICT DO NOTHING").await?;
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql = format!("SELECT version, body FROM {} WHERE tenant_id = $1{lock}", table.name());
    tx.fetch_one(AssertSqlSafe(sql), args![tenant]).await
}

/// Writes settings that are locked.
///
/// # Errors
/// When the store fails.
pub async fn put(tx: &mut Tx, table: Table, tenant: &str, version: u64, body: Bytes) -> Result<(), DbError> {
    let sql = format!("UPDATE {} SET version = $1, body = $2 WHERE tenant_id = $3", table.name());
    tx.execute(AssertSqlSafe(sql), args![version, body, tenant]).await?;
    Ok(())
}
