//! What the probes of the domain read and write. They look at all tenants: what they find is told to the operator only.

use runspine_db::{AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::{Micros, PLATFORM_TENANT};

use super::monitors;
use runspine_policies_domain::words::SnapshotState;

pub(crate) const WRITE: &str =
    "INSERT INTO health_probe (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at";
pub(crate) const READ: &str = "SELECT at FROM health_probe WHERE id = 1";
/// Tenants whose snapshot in force was found to be wrong.
pub(crate) const INVALID: &str = "SELECT COUNT(*) FROM layers l WHERE (SELECT t.to_state FROM snapshot_transitions t \
    WHERE t.snapshot_key = l.snapshot_key ORDER BY t.id DESC LIMIT 1) = $1";
pub(crate) const APPROVALS: &str =
    "SELECT MIN(due_at) FROM approvals WHERE state IN (1, 2, 3) AND due_at <= $1";
pub(crate) const LESSONS: &str = "SELECT MIN(due_at) FROM lessons WHERE state = 3 AND due_at <= $1";
/// Since when a back-test waits that nobody works on.
pub(crate) const BACKTESTS: &str = "SELECT MIN(CASE WHEN lease_until > created_at THEN lease_until ELSE created_at END) \
    FROM backtests WHERE state <= 2 AND lease_until <= $1";

/// The holder whose state is locked: no run, and no monitor.
const NOBODY: &str = "probe";

/// Writes the row of the probe.
pub(crate) async fn write(tx: &mut Tx, at: Micros) -> Result<(), DbError> {
    tx.execute(WRITE, args![at]).await.map(|_| ())
}

/// The row of the probe.
pub(crate) async fn read(read: &Read) -> Result<Option<Micros>, DbError> {
    let row: Option<(Micros,)> = read.fetch_optional(READ, args![]).await?;
    Ok(row.map(|(at,)| at))
}

/// How many tenants stand on a snapshot that can't be trusted.
pub(crate) async fn invalid(read: &Read) -> Result<u64, DbError> {
    let row: (u64,) = read.fetch_one(INVALID, args![SnapshotState::Invalid.code()]).await?;
    Ok(row.0)
}

/// Since when the oldest row waits that `sql` asks for.
pub(crate) async fn waiting(read: &Read, sql: &'static str, now: Micros) -> Result<Option<Micros>, DbError> {
    let row: Option<(Option<Micros>,)> = read.fetch_optional(sql, args![now]).await?;
    Ok(row.and_then(|(at,)| at))
}

/// Locks a state as a decision does.
pub(crate) async fn lock(tx: &mut Tx) -> Result<(), DbError> {
    let sql = monitors::lock_sql(1, tx.dialect().pick("", " FOR UPDATE OF m"));
    let _: Vec<monitors::LockedRow> =
        tx.fetch_all(AssertSqlSafe(sql), args![PLATFORM_TENANT, NOBODY]).await?;
    Ok(())
}

/// Reads a state as a decision does.
pub(crate) async fn state(read: &Read) -> Result<(), DbError> {
    monitors::read(read, PLATFORM_TENANT, NOBODY).await.map(|_| ())
}
