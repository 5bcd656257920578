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
