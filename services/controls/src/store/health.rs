//! What the probes of the domain read and write. They look at all tenants: what they find is told to the operator only.

use runspine_db::{DbError, Read, Tx, args};
use runspine_types::Micros;

/// Writes the row of the probe.
///
/// # Errors
/// When the store fails.
pub async fn write(tx: &mut Tx, at: Micros) -> Result<(), DbError> {
    let sql =
        "INSERT INTO health_probe (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at";
    tx.execute(sql, args![at]).await.map(|_| ())
}

/// The row of the probe.
///
/// # Errors
/// When the store fails.
pub async fn read(read: &Read) -> Result<Option<Micros>, DbError> {
    let row: Option<(Micros,)> =
        read.fetch_optional("SELECT at FROM health_probe WHERE id = 1", args![]).await?;
    Ok(row.map(|(at,)| at))
}

/// Since when the oldest lease has lapsed of those that lapsed before a time and still have what they hold.
///
/// # Errors
/// When the store fails.
pub async fn unswept(read: &Read, before: Micros) -> Result<Option<Micros>, DbError> {
    let sql = "SELECT MIN(expires_at) FROM run_leases WHERE state = 2 AND expires_at <= $1";
    Ok(read.fetch_one::<(Option<Micros>,)>(sql, args![before]).await?.0)
}

/// The period of the newest entry: its envelope, what is out by its own number, and by those of its runs.
///
/// # Errors
/// When the store fails.
pub async fn newest_period(read: &Read) -> Result<Option<(String, i64, i64)>, DbError> {
    let sql = "SELECT e.envelope_id, p.granted, CAST(COALESCE((SELECT SUM(a.granted) FROM allocations a \
               WHERE a.envelope_key = p.envelope_key AND a.period_start = p.period_start AND a.open = 1), 0) AS BIGINT) \
               FROM budget_entries b \
               JOIN envelope_periods p ON p.envelope_key = b.envelope_key AND p.period_start = b.period_start \
               JOIN envelopes e ON e.envelope_key = b.envelope_key \
               WHERE b.entry_seq = (SELECT MAX(entry_seq) FROM budget_entries)";
    read.fetch_optional(sql, args![]).await
}

/// How many holds are ACTIVE, and when the oldest of them began.
///
/// # Errors
/// When the store fails.
pub async fn active_holds(read: &Read) -> Result<(i64, Option<Micros>), DbError> {
    let sql = "SELECT COUNT(*), MIN(t.at) FROM holds h JOIN hold_transitions t ON t.hold_id = h.hold_id AND t.seq = 0 \
               WHERE h.state = 1";
    read.fetch_one(sql, args![]).await
}
