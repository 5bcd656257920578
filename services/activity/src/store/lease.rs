//! Leases with their alarms.

use contracts_common::common::v1::{RunPhase as P, RunStatus as S};
use runspine_activity_domain::{lapse::Alarms, lease::Lease};
use runspine_db::{Args, AssertSqlSafe, DbError, Dialect, Tx, args};
use runspine_types::Micros;

use crate::store::row::{LeaseRow, StateRow};

const UPSERT: &str = "ON CONFLICT (attempt_key) DO UPDATE SET fence = excluded.fence, \
    lease_fence = excluded.lease_fence, holder = excluded.holder, ttl_ms = excluded.ttl_ms, \
    expires_at = excluded.expires_at, suspended = excluded.suspended, watched = excluded.watched, \
    last_seen_at = excluded.last_seen_at, renewal_id = excluded.renewal_id, \
    renewal_digest = excluded.renewal_digest, renewal_suspended = excluded.renewal_suspended, \
    claimed_by = excluded.claimed_by, claimed_until = excluded.claimed_until, \
    stale_since = excluded.stale_since, stop_at = excluded.stop_at, timeout_at = excluded.timeout_at, \
    orphan_at = excluded.orphan_at, pause_at = excluded.pause_at, warn_at = excluded.warn_at, \
    other_due_at = excluded.other_due_at, due_at = excluded.due_at";

const COLUMNS: [&str; 23] = [
    "attempt_key",
    "tenant_id",
    "fence",
    "lease_fence",
    "holder",
    "ttl_ms",
    "expires_at",
    "suspended",
    "watched",
    "last_seen_at",
    "renewal_id",
    "renewal_digest",
    "renewal_suspended",
    "claimed_by",
    "claimed_until",
    "stale_since",
    "stop_at",
    "timeout_at",
    "orphan_at",
    "pause_at",
    "warn_at",
    "other_due_at",
    "due_at",
];

/// The lease row of a new attempt.
pub(crate) fn fresh(attempt_key: i64, tenant: &str, ttl_ms: i64) -> LeaseRow {
    LeaseRow {
        attempt_key,
        tenant_id: tenant.to_owned(),
        fence: 0,
        lease_fence: 0,
        holder: String::new(),
        ttl_ms,
        expires_at: None,
        suspended: false,
        watched: false,
        last_seen_at: None,
        renewal_id: String::new(),
        renewal_digest: bytes::Bytes::new(),
        renewal_suspended: false,
        claimed_by: String::new(),
        claimed_until: None,
        stale_since: None,
        stop_at: None,
        timeout_at: None,
        orphan_at: None,
        pause_at: None,
        warn_at: None,
        other_due_at: None,
        due_at: None,
    }
}

/// The lease row of an attempt, locked.
pub(crate) async fn lock(tx: &mut Tx, attempt_key: i64) -> Result<LeaseRow, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql = format!("SELECT {} FROM leases WHERE attempt_key = $1{lock}", LeaseRow::COLUMNS);
    tx.fetch_one(AssertSqlSafe(sql), args![attempt_key]).await
}

/// Writes lease rows with few statements, whether they exist or not.
pub(crate) async fn save(tx: &mut Tx, rows: Vec<LeaseRow>) -> Result<(), DbError> {
    let rows: Vec<Args> = rows.into_iter().map(values).collect();
    tx.insert_rows("leases", &COLUMNS, rows, UPSERT).await?;
    Ok(())
}

fn values(l: LeaseRow) -> Args {
    args![
        l.attempt_key,
        l.tenant_id,
        l.fence,
        l.lease_fence,
        l.holder,
        l.ttl_ms,
        l.expires_at,
        l.suspended,
        l.watched,
        l.last_seen_at,
        l.renewal_id,
        l.renewal_digest,
        l.renewal_suspended,
        l.claimed_by,
        l.claimed_until,
        l.stale_since,
        l.stop_at,
        l.timeout_at,
        l.orphan_at,
        l.pause_at,
        l.warn_at,
        l.other_due_at,
        l.due_at,
    ]
}

/// Sets the alarms that go with where the attempt stands now. `orphan_ms`: how long it may wait for somebody.
pub(crate) fn set_alarms(lease: &mut LeaseRow, state: &StateRow, orphan_ms: i64, now: Micros) {
    let is = |phase: P, status: S| state.phase == phase as i32 && state.status == status as i32;
    let waiting = is(P::Created, S::Queued) || is(P::Authorized, S::Queued);
    let (running, paused) = (is(P::Executing, S::Running), is(P::Executing, S::Paused));
    let held = lease.lease_fence != 0 && !lease.suspended;
    let since = state.next_attempt_at.map_or(state.changed_at, |at| at.max(state.changed_at));
    lease.watched = running && held;
    lease.orphan_at = (waiting || (running && !held)).then(|| since.plus_millis(orphan_ms));
    lease.timeout_at = if running { state.run_deadline() } else { None };
    let stoppable = waiting || running || paused || is(P::Created, S::PendingApproval);
    lease.stop_at = if stoppable { state.drain_until } else { None };
    if !paused {
        (lease.pause_at, lease.warn_at) = (None, None);
    }
    wake(lease, now);
}

/// Sets the two columns that the alarms make.
pub(crate) fn wake(lease: &mut LeaseRow, now: Micros) {
    let alarms = alarms(lease);
    lease.other_due_at = alarms.other_due_at();
    // A claim in force keeps every other worker away until it is over.
    let claimed = lease.claimed_until.filter(|&until| until > now);
    lease.due_at = alarms.due_at().map(|due| claimed.map_or(due, |until| due.max(until)));
}

/// The alarms as the rules see them.
pub(crate) fn alarms(l: &LeaseRow) -> Alarms {
    Alarms {
        stop_at: l.stop_at,
        timeout_at: l.timeout_at,
        lease_at: l.expires_at.filter(|_| l.watched),
        orphan_at: l.orphan_at,
        pause_at: l.pause_at,
        warn_at: l.warn_at,
    }
}

/// The due rows of a tenant (`None`: of all), oldest first; two workers never read the same one.
pub(crate) async fn due(
    tx: &mut Tx,
    tenant: Option<&str>,
    now: Micros,
    limit: u32,
) -> Result<Vec<LeaseRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE SKIP LOCKED");
    let (scope, mut args) = (if tenant.is_some() { " AND tenant_id = $3" } else { "" }, args![now, limit]);
    args.extend(tenant.map(runspine_db::Value::from));
    let sql = format!(
        "SELECT {} FROM leases WHERE due_at IS NOT NULL AND due_at <= $1{scope} ORDER BY due_at, attempt_key LIMIT $2{lock}",
        LeaseRow::COLUMNS
    );
    tx.fetch_all(AssertSqlSafe(sql), args).await
}

/// The newest lease in force, for an answer.
pub(crate) fn shown(lease: &Lease) -> Option<&Lease> {
    (lease.lease_fence != 0).then_some(lease)
}

/// The engine, for callers that build statements.
pub(crate) fn for_update(tx: &Tx) -> &'static str {
    match tx.dialect() {
        Dialect::Sqlite => "",
        Dialect::Postgres => " FOR UPDATE OF l",
    }
}
