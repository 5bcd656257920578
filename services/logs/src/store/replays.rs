//! Replays: what was ordered, what was noted of each step, and how they ended.

use bytes::Bytes;
use runspine_db::{AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::Micros;

use super::newest::Newest;

runspine_db::row! {
    /// A replay with how it ended.
    #[derive(Debug, Clone)]
    pub struct ReplayRow {
        /// Stands for its place among all.
        pub id: i64,
        /// Its id.
        pub replay_id: String,
        /// The tenant.
        pub tenant_id: String,
        /// The trace.
        pub trace_key: i64,
        /// The run.
        pub run_id: String,
        /// The attempt.
        pub attempt: u32,
        /// The order.
        pub ordered: Bytes,
        /// Digest of the seal that was proved.
        pub seal: Bytes,
        /// Who started it.
        pub started_by: String,
        /// When.
        pub started_at: Micros,
        /// When it is ended if nobody ends it.
        pub expires_at: Micros,
        /// What it found; none while it runs.
        pub finished: Option<Bytes>,
    }
}

const FROM: &str = "SELECT r.id, r.replay_id, r.tenant_id, r.trace_key, r.run_id, r.attempt, r.ordered, r.seal, \
                    r.started_by, r.started_at, r.expires_at, e.finished FROM replays r \
                    LEFT JOIN replay_ends e ON e.replay_id = r.replay_id WHERE r.tenant_id = $1";

/// Which replays of a tenant.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// The run.
    pub run_id: Option<String>,
    /// Finished, or running.
    pub finished: Option<bool>,
    /// What they found.
    pub result: Option<i32>,
}

/// Stores a replay and opens it for steps.
///
/// # Errors
/// When the store refuses it.
pub async fn insert(tx: &mut Tx, row: &ReplayRow) -> Result<(), DbError> {
    let sql = "INSERT INTO replays (replay_id, tenant_id, trace_key, run_id, attempt, ordered, seal, started_by, \
               started_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let args = args![
        &row.replay_id,
        &row.tenant_id,
        row.trace_key,
        &row.run_id,
        row.attempt,
        &row.ordered,
        &row.seal,
        &row.started_by,
        row.started_at,
        row.expires_at,
    ];
    tx.execute(sql, args).await?;
    let sql = "INSERT INTO replay_open (replay_id, tenant_id, expires_at) VALUES ($1, $2, $3)";
    tx.execute(sql, args![&row.replay_id, &row.tenant_id, row.expires_at]).await?;
    Ok(())
}

/// Whether a replay takes steps at `now`.
///
/// # Errors
/// When the store can't be read.
pub async fn is_open(tx: &mut Tx, tenant: &str, replay_id: &str, now: Micros) -> Result<bool, DbError> {
    let sql = "SELECT id FROM replay_open WHERE tenant_id = $1 AND replay_id = $2 AND expires_at > $3";
    Ok(tx.fetch_optional::<(i64,)>(sql, args![tenant, replay_id, now]).await?.is_some())
}

/// What a key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// Nobody had it: it stands for this input from now on.
    New,
    /// It stands for this input.
    Duplicate,
    /// It stands for another.
    Conflict,
}

/// Takes a key for an input until `until`, unless somebody has it; one statement, so that two can't both have it.
///
/// # Errors
/// When the store refuses it.
pub async fn take_key(
    tx: &mut Tx,
    tenant: &str,
    (key, input): (&str, &Bytes),
    (now, until): (Micros, Micros),
) -> Result<KeyState, DbError> {
    let sql = "INSERT INTO replay_keys (tenant_id, replay_key, input_digest, expires_at) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (tenant_id, replay_key) DO UPDATE SET input_digest = excluded.input_digest, \
               expires_at = excluded.expires_at WHERE replay_keys.expires_at <= $5";
    if tx.execute(sql, args![tenant, key, input, until, now]).await? > 0 {
        return Ok(KeyState::New);
    }
    let sql = "SELECT input_digest FROM replay_keys WHERE tenant_id = $1 AND replay_key = $2";
    let (held,): (Bytes,) = tx.fetch_one(sql, args![tenant, key]).await?;
    Ok(if held == *input { KeyState::Duplicate } else { KeyState::Conflict })
}

/// Forgets keys that expired before `now`; gives how many.
///
/// # Errors
/// When the store refuses it.
pub async fn forget_keys(tx: &mut Tx, now: Micros) -> Result<u64, DbError> {
    tx.execute("DELETE FROM replay_keys WHERE expires_at <= $1", args![now]).await
}

/// Notes a step.
///
/// # Errors
/// When the store refuses it.
pub async fn note(
    tx: &mut Tx,
    (replay_id, step_index): (&str, u32),
    checked: Vec<u8>,
    at: Micros,
) -> Result<(), DbError> {
    let sql = "INSERT INTO replay_checks (replay_id, step_index, checked, at) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![replay_id, step_index, checked, at]).await?;
    Ok(())
}

/// Everything that was noted of a replay, in order.
///
/// # Errors
/// When the store can't be read.
pub async fn checks(tx: &mut Tx, replay_id: &str) -> Result<Vec<Bytes>, DbError> {
    let sql = "SELECT checked FROM replay_checks WHERE replay_id = $1 ORDER BY id";
    let rows: Vec<(Bytes,)> = tx.fetch_all(sql, args![replay_id]).await?;
    Ok(rows.into_iter().map(|(checked,)| checked).collect())
}

/// What was noted last of a replay, newest first.
///
/// # Errors
/// When the store can't be read.
pub async fn latest_checks(read: &Read, replay_id: &str, limit: i64) -> Result<Vec<Bytes>, DbError> {
    let sql = "SELECT checked FROM replay_checks WHERE replay_id = $1 ORDER BY id DESC LIMIT $2";
    let rows: Vec<(Bytes,)> = read.fetch_all(sql, args![replay_id, limit]).await?;
    Ok(rows.into_iter().map(|(checked,)| checked).collect())
}

/// Ends a replay.
///
/// # Errors
/// When the store refuses it.
pub async fn end(
    tx: &mut Tx,
    replay_id: &str,
    (result, finished): (i32, Vec<u8>),
    at: Micros,
) -> Result<(), DbError> {
    tx.execute("DELETE FROM replay_open WHERE replay_id = $1", args![replay_id]).await?;
    let sql = "INSERT INTO replay_ends (replay_id, result, finished, at) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![replay_id, result, finished, at]).await?;
    Ok(())
}

/// Replays whose time is over and which nobody ended: tenant and id, the oldest first.
///
/// # Errors
/// When the store can't be read.
pub async fn due(read: &Read, now: Micros, limit: i64) -> Result<Vec<(String, String)>, DbError> {
    let sql = "SELECT tenant_id, replay_id FROM replay_open WHERE expires_at <= $1 ORDER BY expires_at, id LIMIT $2";
    read.fetch_all(sql, args![now, limit]).await
}

/// One replay.
///
/// # Errors
/// When the store can't be read.
pub async fn find(read: &Read, tenant: &str, replay_id: &str) -> Result<Option<ReplayRow>, DbError> {
    let sql = format!("{FROM} AND r.replay_id = $2");
    read.fetch_optional(AssertSqlSafe(sql), args![tenant, replay_id]).await
}

/// The same inside a transaction.
///
/// # Errors
/// When the store can't be read.
pub async fn find_in(tx: &mut Tx, tenant: &str, replay_id: &str) -> Result<Option<ReplayRow>, DbError> {
    let sql = format!("{FROM} AND r.replay_id = $2");
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, replay_id]).await
}

/// At most `limit` replays of `tenant` behind `after` (time and number), newest first.
///
/// # Errors
/// When the store can't be read.
pub async fn list(
    read: &Read,
    tenant: &str,
    filter: &Filter,
    after: Option<(i64, i64)>,
    limit: i64,
) -> Result<Vec<ReplayRow>, DbError> {
    let finished = filter.finished.map(|done| if done { "e.id IS NOT NULL" } else { "e.id IS NULL" });
    Newest::of(FROM, args![tenant], ["r.started_at", "r.id"])
        .and("r.run_id =", filter.run_id.as_deref())
        .and("e.result =", filter.result)
        .that(finished)
        .page(read, after, limit)
        .await
}
