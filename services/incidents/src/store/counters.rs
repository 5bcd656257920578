//! Working rows: numbers of incidents and the hourly cap.

use runspine_db::{DbError, Tx, args};

/// The next number of an incident of the tenant, dense from 1.
pub async fn next_seq(tx: &mut Tx, tenant: &str) -> Result<i64, DbError> {
    let sql = "INSERT INTO tenant_counters (tenant_id, last_seq) VALUES ($1, 1) \
               ON CONFLICT (tenant_id) DO UPDATE SET last_seq = tenant_counters.last_seq + 1 RETURNING last_seq";
    Ok(tx.fetch_one::<(i64,)>(sql, args![tenant]).await?.0)
}

/// Takes one of the `cap` places of the hour; `false` when all are taken.
pub async fn take_place(tx: &mut Tx, tenant: &str, hour: i64, cap: i64) -> Result<bool, DbError> {
    if cap < 1 {
        return Ok(false);
    }
    let sql = "INSERT INTO opened_hours (tenant_id, hour, opened) VALUES ($1, $2, 1) \
               ON CONFLICT (tenant_id, hour) DO UPDATE SET opened = opened_hours.opened + 1 \
               WHERE opened_hours.opened < $3";
    Ok(tx.execute(sql, args![tenant, hour, cap]).await? == 1)
}

/// Gives the number back that this transaction took last: its row is still locked, so nobody took another since.
pub async fn give_back_seq(tx: &mut Tx, tenant: &str) -> Result<(), DbError> {
    let sql = "UPDATE tenant_counters SET last_seq = last_seq - 1 WHERE tenant_id = $1";
    tx.execute(sql, args![tenant]).await?;
    Ok(())
}

/// Gives the place back that this transaction took in the hour.
pub async fn give_back_place(tx: &mut Tx, tenant: &str, hour: i64) -> Result<(), DbError> {
    let sql = "UPDATE opened_hours SET opened = opened - 1 WHERE tenant_id = $1 AND hour = $2";
    tx.execute(sql, args![tenant, hour]).await?;
    Ok(())
}
