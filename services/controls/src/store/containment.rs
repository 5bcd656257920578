//! What a freeze met when it was committed, what was heard since, and what was admitted. A freeze is known by its epoch.

use bytes::Bytes;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Snapshot, Tx, args};
use runspine_types::{Digest, Micros};

use super::rows::FreezeRow;

/// A replica that was not heard of for this long is not counted as alive, milliseconds.
const ALIVE_MS: i64 = 5_000;
/// A replica that was not heard of for this long is forgotten, milliseconds.
const FORGOTTEN_MS: i64 = 3_600_000;

/// Notes the runs in scope, and the replicas that are alive: those that watch this process, and those that were heard
/// of by any.
///
/// # Errors
/// When the store fails.
pub async fn begin(
    tx: &mut Tx,
    epoch: u64,
    runs: &[i64],
    watching: &[String],
    now: Micros,
) -> Result<(), DbError> {
    let rows: Vec<Args> = runs.iter().map(|run| args![epoch, *run]).collect();
    insert(tx, "freeze_runs", &["epoch", "run_key"], rows).await?;
    let since = now.plus_millis(-ALIVE_MS);
    let heard: Vec<(String,)> =
        tx.fetch_all("SELECT replica FROM replicas WHERE seen_at >= $1", args![since]).await?;
    let mut alive: Vec<String> = heard.into_iter().map(|r| r.0).chain(watching.iter().cloned()).collect();
    alive.sort_unstable();
    alive.dedup();
    let rows = alive.iter().map(|replica| args![epoch, replica]).collect();
    insert(tx, "freeze_replicas", &["epoch", "replica"], rows).await
}

/// Notes that replicas are alive, and forgets those that are long gone.
///
/// # Errors
/// When the store fails.
pub async fn present(tx: &mut Tx, replicas: &[String], now: Micros) -> Result<(), DbError> {
    let rows = replicas.iter().map(|replica| args![replica, now]).collect();
    let columns = ["replica", "seen_at"];
    let upsert = "ON CONFLICT (replica) DO UPDATE SET seen_at = excluded.seen_at";
    tx.insert_rows("replicas", &columns, rows, upsert).await?;
    let forgotten = now.plus_millis(-FORGOTTEN_MS);
    tx.execute("DELETE FROM replicas WHERE seen_at < $1", args![forgotten]).await?;
    Ok(())
}

/// Notes that a replica has confirmed an epoch, and that runs took the notice of a freeze. What is known already stays.
///
/// # Errors
/// When the store fails.
pub async fn acknowledge(
    tx: &mut Tx,
    epoch: u64,
    (replica, confirmed): (&str, u64),
    runs: &[(String, u32)],
    now: Micros,
) -> Result<(), DbError> {
    let mut keys = if confirmed >= epoch { vec![0] } else { Vec::new() };
    for (run_id, attempt) in runs {
        let sql = "SELECT f.run_key FROM freeze_runs f JOIN run_leases r ON r.run_key = f.run_key \
                   WHERE f.epoch = $1 AND r.run_id = $2 AND r.attempt = $3";
        let found: Option<(i64,)> = tx.fetch_optional(sql, args![epoch, run_id, *attempt]).await?;
        keys.extend(found.map(|k| k.0));
    }
    let rows: Vec<Args> = keys.into_iter().map(|key| args![epoch, key, replica, confirmed, now]).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let columns = ["epoch", "run_key", "replica", "confirmed_epoch", "at"];
    tx.insert_rows("containment_acks", &columns, rows, "ON CONFLICT DO NOTHING").await?;
    Ok(())
}

/// Keeps what a proof was found to be; false when that is known already.
///
/// # Errors
/// When the store fails.
pub async fn keep(
    tx: &mut Tx,
    epoch: u64,
    status: i32,
    proof: Vec<u8>,
    digest: Digest,
    now: Micros,
) -> Result<bool, DbError> {
    let sql = "SELECT status FROM containments WHERE epoch = $1 AND status = $2";
    let known: Option<(i32,)> = tx.fetch_optional(sql, args![epoch, status]).await?;
    if known.is_some() {
        return Ok(false);
    }
    let columns = ["epoch", "status", "proof", "digest", "at"];
    let row = args![epoch, status, proof, digest, now];
    Ok(tx.insert_rows("containments", &columns, vec![row], "ON CONFLICT DO NOTHING").await? > 0)
}

async fn insert(tx: &mut Tx, table: &str, columns: &[&str], rows: Vec<Args>) -> Result<(), DbError> {
    if !rows.is_empty() {
        tx.insert_rows(table, columns, rows, "").await?;
    }
    Ok(())
}

/// A proof that was kept with this status, and its digest.
///
/// # Errors
/// When the store fails.
pub async fn kept(read: &Read, epoch: u64, status: i32) -> Result<Option<(Bytes, Bytes)>, DbError> {
    let sql = "SELECT proof, digest FROM containments WHERE epoch = $1 AND status = $2";
    read.fetch_optional(sql, args![epoch, status]).await
}

/// Freezes that were committed after `since`, or still hold, and were not found to be contained.
///
/// # Errors
/// When the store fails.
pub async fn pending(read: &Read, contained: i32, since: Micros) -> Result<Vec<FreezeRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM freezes f WHERE (f.open = 1 OR f.committed_at >= $1) AND NOT EXISTS \
         (SELECT 1 FROM containments c WHERE c.epoch = f.epoch AND c.status = $2) ORDER BY f.epoch",
        FreezeRow::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args![since, contained]).await
}

runspine_db::row! {
    /// A run that was in scope, as it is now.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct ScopedRun {
        pub run_key: i64,
        pub tenant_id: String,
        pub run_id: String,
        pub attempt: u32,
        pub state: i64,
        pub expires_at: Option<Micros>,
        pub epoch_seen: u64,
        pub heard: i64,
    }
}

/// The runs that were in scope of a freeze.
///
/// # Errors
/// When the store fails.
pub async fn runs(snapshot: &mut Snapshot, epoch: u64) -> Result<Vec<ScopedRun>, DbError> {
    let sql = "SELECT r.run_key, r.tenant_id, r.run_id, r.attempt, r.state, r.expires_at, r.epoch_seen, \
               (SELECT COUNT(*) FROM containment_acks a WHERE a.epoch = f.epoch AND a.run_key = f.run_key) AS heard \
               FROM freeze_runs f JOIN run_leases r ON r.run_key = f.run_key WHERE f.epoch = $1 ORDER BY f.run_key";
    snapshot.fetch_all(sql, args![epoch]).await
}

/// The replicas that were alive, each with the epoch that it has confirmed.
///
/// # Errors
/// When the store fails.
pub async fn replicas(snapshot: &mut Snapshot, epoch: u64) -> Result<Vec<(String, u64)>, DbError> {
    let sql = "SELECT p.replica, COALESCE(a.confirmed_epoch, 0) FROM freeze_replicas p \
               LEFT JOIN containment_acks a ON a.epoch = p.epoch AND a.run_key = 0 AND a.replica = p.replica \
               WHERE p.epoch = $1 ORDER BY p.replica";
    snapshot.fetch_all(sql, args![epoch]).await
}

/// Steps in flight of the runs in scope: run, step, hold, since.
///
/// # Errors
/// When the store fails.
pub async fn in_flight(
    snapshot: &mut Snapshot,
    epoch: u64,
) -> Result<Vec<(i64, i64, String, Option<Micros>)>, DbError> {
    let sql = "SELECT h.run_key, h.step_index, h.hold_id, e.evaluated_at FROM freeze_runs f \
               JOIN holds h ON h.run_key = f.run_key AND h.state = 1 LEFT JOIN evidence e ON e.run_key = h.run_key \
               AND e.step_index = h.step_index AND e.ask = h.ask WHERE f.epoch = $1 ORDER BY h.run_key, h.step_index";
    snapshot.fetch_all(sql, args![epoch]).await
}

/// An admission: run id, attempt, step, decision, epoch, time.
pub type Admitted = (String, u32, i64, String, u64, Micros);

/// The last admission of the runs in scope before the freeze.
///
/// # Errors
/// When the store fails.
pub async fn last(snapshot: &mut Snapshot, epoch: u64) -> Result<Option<Admitted>, DbError> {
    let sql = "SELECT r.run_id, r.attempt, e.step_index, e.decision_id, e.freeze_epoch, e.evaluated_at \
               FROM freeze_runs f JOIN evidence e ON e.run_key = f.run_key JOIN run_leases r ON r.run_key = f.run_key \
               WHERE f.epoch = $1 AND e.verdict IN (1, 3) AND e.freeze_epoch < $1 \
               ORDER BY e.evaluated_at DESC, e.run_key DESC, e.step_index DESC LIMIT 1";
    snapshot.fetch_optional(sql, args![epoch]).await
}

/// Runs that were allowed anything at or after an epoch: key, tenant, run, encoded scope.
///
/// # Errors
/// When the store fails.
pub async fn allowed_since(
    snapshot: &mut Snapshot,
    tenant: &str,
    epoch: u64,
) -> Result<Vec<(i64, String, String, Bytes)>, DbError> {
    let columns = "SELECT run_key, tenant_id, run_id, scope FROM run_leases WHERE";
    if tenant.is_empty() {
        let sql = format!("{columns} allowed_epoch >= $1");
        return snapshot.fetch_all(AssertSqlSafe(sql), args![epoch]).await;
    }
    let sql = format!("{columns} tenant_id = $1 AND allowed_epoch >= $2");
    snapshot.fetch_all(AssertSqlSafe(sql), args![tenant, epoch]).await
}

/// Admissions of a run that were allowed while a freeze held: from its epoch until its end.
///
/// # Errors
/// When the store fails.
pub async fn allowed_within(
    snapshot: &mut Snapshot,
    run: i64,
    (epoch, end_epoch): (u64, u64),
    end: Micros,
) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM evidence WHERE run_key = $1 AND verdict IN (1, 3) AND freeze_epoch >= $2 \
               AND freeze_epoch < $3 AND evaluated_at < $4";
    let (count,): (i64,) = snapshot.fetch_one(sql, args![run, epoch, end_epoch, end]).await?;
    Ok(count)
}
