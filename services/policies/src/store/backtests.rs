//! Back-tests and what they found.

use bytes::Bytes;
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args, row};
use runspine_policies_domain::{sandbox::tally::Diff, words::BacktestState};
use runspine_types::{Digest, Micros};

use super::diffs::{self, DiffRow};

row! {
    /// A back-test.
    #[derive(Debug, Clone)]
    pub(crate) struct BacktestRow {
        pub id: i64,
        pub tenant_id: String,
        pub backtest_id: String,
        pub state: i32,
        pub version: u64,
        pub base_digest: Digest,
        pub overlay: Bytes,
        pub candidate_digest: Digest,
        pub range_body: Bytes,
        pub examined: u64,
        pub total: u64,
        pub claim: i64,
        pub report: Bytes,
        pub error: String,
        pub actor_type: i32,
        pub actor_id: String,
        pub created_at: Micros,
        pub started_at: Micros,
        pub ended_at: Micros,
    }
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, tenant_id, backtest_id, state, version, base_digest, overlay, candidate_digest, range_body, ",
            "examined, total, claim, report, error, actor_type, actor_id, created_at, started_at, ended_at ",
            "FROM backtests",
            $tail
        )
    };
}

pub(crate) const BACKTEST: &str = select!("");
pub(crate) const BY_ID: &str = select!(" WHERE tenant_id = $1 AND backtest_id = $2");
/// The next that nobody works on: oldest first.
pub(crate) const DUE: &str = select!(" WHERE state <= 2 AND lease_until <= $1 ORDER BY id LIMIT 1");
pub(crate) const DIFF: &str = "SELECT d.id, d.decision_id, d.run_id, d.attempt, d.step_index, d.recorded, d.candidate, \
     d.recorded_code, d.recorded_rule, d.candidate_code, d.candidate_rule, d.counterfactual, d.agent_id, d.resource \
     FROM backtest_diffs d JOIN backtests b ON b.id = d.backtest_key AND b.claim = d.claim";

pub(crate) async fn read(read: &Read, tenant: &str, id: &str) -> Result<Option<BacktestRow>, DbError> {
    read.fetch_optional(BY_ID, args![tenant, id]).await
}

pub(crate) async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<BacktestRow>, DbError> {
    tx.fetch_optional(BY_ID, args![tenant, id]).await
}

/// Whether anything is due: asked on the reading side, so that an idle worker writes nothing.
pub(crate) async fn any_due(read: &Read, now: Micros) -> Result<bool, DbError> {
    let sql = "SELECT id FROM backtests WHERE state <= 2 AND lease_until <= $1 ORDER BY id LIMIT 1";
    Ok(read.fetch_optional::<(i64,)>(sql, args![now]).await?.is_some())
}

/// When the oldest one that nobody works on was asked for.
pub(crate) async fn due(tx: &mut Tx, now: Micros) -> Result<Option<BacktestRow>, DbError> {
    tx.fetch_optional(DUE, args![now]).await
}

/// How many of a tenant are not done.
pub(crate) async fn open(tx: &mut Tx, tenant: &str) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM backtests WHERE tenant_id = $1 AND state <= 2";
    Ok(tx.fetch_one::<(u64,)>(sql, args![tenant]).await?.0)
}

/// A back-test to store.
pub(crate) struct NewBacktest {
    pub backtest_id: String,
    pub base_digest: Digest,
    pub overlay: Vec<u8>,
    pub candidate_digest: Digest,
    pub since: i64,
    pub until: i64,
    pub range_body: Vec<u8>,
    pub total: u64,
    pub actor: (i32, String),
    pub at: Micros,
}

pub(crate) async fn insert(tx: &mut Tx, tenant: &str, new: NewBacktest) -> Result<BacktestRow, DbError> {
    let sql = "INSERT INTO backtests (tenant_id, backtest_id, state, version, base_digest, overlay, candidate_digest, \
               since, until, range_body, examined, total, claim, lease_until, report, error, actor_type, actor_id, \
               created_at, started_at, ended_at) VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, 0, $10, 0, 0, $11, '', \
               $12, $13, $14, 0, 0)";
    let id = new.backtest_id.clone();
    let values = args![
        tenant,
        new.backtest_id,
        BacktestState::Queued.code(),
        new.base_digest,
        new.overlay,
        new.candidate_digest,
        new.since,
        new.until,
        new.range_body,
        new.total,
        Bytes::new(),
        new.actor.0,
        new.actor.1,
        new.at,
    ];
    tx.execute(sql, values).await?;
    tx.fetch_one(BY_ID, args![tenant, id]).await
}

/// Takes a back-test for one worker until `lease`; what others do under an older claim has no effect any more.
pub(crate) async fn claim(
    tx: &mut Tx,
    row: &BacktestRow,
    lease: Micros,
    at: Micros,
) -> Result<bool, DbError> {
    let sql = "UPDATE backtests SET state = $3, version = version + 1, claim = claim + 1, lease_until = $4, \
               started_at = $5, examined = 0 WHERE id = $1 AND version = $2";
    let values = args![row.id, row.version, BacktestState::Running.code(), lease, at];
    Ok(tx.execute(sql, values).await? == 1)
}

/// How far a claim is; `false` when it holds no more.
pub(crate) async fn progress(
    tx: &mut Tx,
    key: (i64, i64),
    examined: u64,
    lease: Micros,
) -> Result<bool, DbError> {
    let sql = "UPDATE backtests SET examined = $3, lease_until = $4, version = version + 1 \
               WHERE id = $1 AND claim = $2 AND state = $5";
    let values = args![key.0, key.1, examined, lease, BacktestState::Running.code()];
    Ok(tx.execute(sql, values).await? == 1)
}

/// Gives a claim back, so that another worker need not wait for the end of its lease.
pub(crate) async fn release(tx: &mut Tx, key: (i64, i64)) -> Result<(), DbError> {
    let sql = "UPDATE backtests SET lease_until = 0, version = version + 1 WHERE id = $1 AND claim = $2 AND state = $3";
    tx.execute(sql, args![key.0, key.1, BacktestState::Running.code()]).await?;
    Ok(())
}

/// What a back-test came to.
pub(crate) struct Ended {
    pub state: BacktestState,
    pub examined: u64,
    pub report: Vec<u8>,
    pub error: String,
    pub at: Micros,
}

/// Ends the work of a claim; `false` when it holds no more.
pub(crate) async fn end(tx: &mut Tx, key: (i64, i64), ended: Ended) -> Result<bool, DbError> {
    let sql = "UPDATE backtests SET state = $3, examined = $4, report = $5, error = $6, ended_at = $7, lease_until = 0, \
               version = version + 1 WHERE id = $1 AND claim = $2 AND state = $8";
    let running = BacktestState::Running.code();
    let values = args![
        key.0,
        key.1,
        ended.state.code(),
        ended.examined,
        ended.report,
        ended.error,
        ended.at,
        running,
    ];
    Ok(tx.execute(sql, values).await? == 1)
}

/// Ends one that somebody gave up, whoever works on it.
pub(crate) async fn cancel(tx: &mut Tx, row: &BacktestRow, at: Micros) -> Result<bool, DbError> {
    let sql = "UPDATE backtests SET state = $3, ended_at = $4, lease_until = 0, version = version + 1 \
               WHERE id = $1 AND version = $2";
    let values = args![row.id, row.version, BacktestState::Cancelled.code(), at];
    Ok(tx.execute(sql, values).await? == 1)
}

/// Stores changed decisions under a claim.
pub(crate) async fn insert_diffs(tx: &mut Tx, key: (i64, i64), found: &[Diff]) -> Result<(), DbError> {
    let row = |d: &Diff| DiffRow::from(d).values(args![key.0, key.1]);
    let columns = diffs::columns(&["backtest_key", "claim"]);
    tx.insert_rows("backtest_diffs", &columns, found.iter().map(row).collect(), "").await?;
    Ok(())
}

row! {
    /// A run of a range, with how many decisions it has there.
    #[derive(Debug, Clone)]
    pub(crate) struct RunCount {
        pub id: i64,
        pub bound_at: Micros,
        pub run_id: String,
        pub attempt: u32,
        pub principal: Bytes,
        pub snapshot: Digest,
        pub decisions: u64,
    }
}

row! {
    /// A decision to replay.
    #[derive(Debug, Clone)]
    pub(crate) struct ReplayRow {
        pub id: i64,
        pub run_key: i64,
        pub step_index: i64,
        pub moment: i32,
        pub inputs_digest: Digest,
        pub answer: Bytes,
        pub inputs: Option<Bytes>,
    }
}

row! {
    /// What the trace says about a finished step.
    #[derive(Debug, Clone)]
    pub(crate) struct FactRow {
        pub run_key: i64,
        pub seq: u64,
        pub authorized: bool,
        pub bytes: Bytes,
    }
}

pub(crate) const RUNS: &str = "SELECT r.id, r.bound_at, r.run_id, r.attempt, r.principal, s.digest AS snapshot, \
     (SELECT COUNT(*) FROM decisions d WHERE d.run_key = r.id AND d.decided_at < $3) AS decisions FROM run_states r \
     JOIN snapshots s ON s.id = r.snapshot_key WHERE r.tenant_id = $1 \
     AND r.bound_at >= $2 AND r.bound_at < $3 AND (r.bound_at > $4 OR (r.bound_at = $4 AND r.id > $5)) \
     ORDER BY r.bound_at, r.id LIMIT $6";

/// The runs of a range from a place on, in the order in which they were bound.
pub(crate) async fn runs(
    read: &Read,
    tenant: &str,
    range: (i64, i64),
    after: (i64, i64),
    limit: i64,
) -> Result<Vec<RunCount>, DbError> {
    read.fetch_all(RUNS, args![tenant, range.0, range.1, after.0, after.1, limit]).await
}

/// `$1, $2, …` of a power of two of places, so that few texts are prepared; what is left over repeats the first.
fn places(keys: &[i64], from: usize) -> (String, Args) {
    let width = keys.len().next_power_of_two();
    let names: Vec<String> = (from..from + width).map(|n| format!("${n}")).collect();
    let values = keys.iter().chain(std::iter::repeat(&keys[0])).take(width).map(|k| (*k).into()).collect();
    (names.join(","), values)
}

/// The last step that a run has a decision about; -1: none but its start.
pub(crate) async fn last_step(read: &Read, run_key: i64) -> Result<Option<i64>, DbError> {
    let sql = "SELECT step_index FROM decisions WHERE run_key = $1 ORDER BY step_index DESC LIMIT 1";
    Ok(read.fetch_optional::<(i64,)>(sql, args![run_key]).await?.map(|(step,)| step))
}

/// The decisions of these runs made before `until` about steps from the first to before the last, run by run and in the
/// order in which they were made.
pub(crate) async fn decisions(
    read: &Read,
    runs: &[i64],
    steps: (i64, i64),
    until: i64,
) -> Result<Vec<ReplayRow>, DbError> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let (names, more) = places(runs, 4);
    let values = args![until, steps.0, steps.1].into_iter().chain(more).collect();
    let sql = format!(
        "SELECT d.id, d.run_key, d.step_index, d.moment, d.inputs_digest, d.answer, i.bytes AS inputs FROM decisions d \
         LEFT JOIN decision_inputs i ON i.run_key = d.run_key AND i.step_index = d.step_index AND i.ask = d.ask \
         WHERE d.run_key IN ({names}) AND d.step_index >= $2 AND d.step_index < $3 AND d.decided_at < $1"
    );
    let mut rows: Vec<ReplayRow> = read.fetch_all(AssertSqlSafe(sql), values).await?;
    // Sorted here: the engine would sort the stored bytes too.
    rows.sort_unstable_by_key(|r| (r.run_key, r.id));
    Ok(rows)
}

/// What the trace says about these steps of these runs, run by run and in the order of the trace.
pub(crate) async fn facts(read: &Read, runs: &[i64], steps: (i64, i64)) -> Result<Vec<FactRow>, DbError> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let (names, more) = places(runs, 3);
    let values = args![steps.0, steps.1].into_iter().chain(more).collect();
    let sql = format!(
        "SELECT run_key, seq, authorized, bytes FROM step_facts WHERE run_key IN ({names}) \
         AND step_index >= $1 AND step_index < $2"
    );
    let mut rows: Vec<FactRow> = read.fetch_all(AssertSqlSafe(sql), values).await?;
    rows.sort_unstable_by_key(|r| (r.run_key, r.seq));
    Ok(rows)
}
