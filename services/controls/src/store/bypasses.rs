//! Bypasses, what was decided about them, and the steps that they let pass.

use runspine_controls_domain::{
    bypass::{Bypass, BypassDecision, BypassScope, BypassState, UNDECIDED_MS},
    limit::Key,
};
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::Micros;

use crate::words::stored;

/// How long a bypass stays in memory beyond its end, milliseconds: clocks differ.
const SLACK_MS: i64 = 60_000;
/// Uses that are shown of a bypass.
const MOST_USES: i64 = 500;

runspine_db::row! {
    /// A bypass.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct BypassRow {
        pub bypass_key: i64,
        pub bypass_id: String,
        pub tenant_id: String,
        pub scope: i32,
        pub scope_id: String,
        pub rule_ids: String,
        pub duration_s: i64,
        pub ticket: String,
        pub decision: i32,
        pub requested_by: String,
        pub requested_at: Micros,
        pub expires_at: Option<Micros>,
        pub epoch: u64,
    }
}

impl BypassRow {
    /// The bypass, as the rules want it.
    ///
    /// # Errors
    /// When a stored word is not known.
    pub fn subject(&self) -> Result<Bypass, DbError> {
        Ok(Bypass {
            key: self.bypass_key,
            id: self.bypass_id.clone(),
            tenant_id: self.tenant_id.clone(),
            scope: stored(BypassScope::from_code(self.scope))?,
            scope_id: self.scope_id.clone(),
            duration_s: self.duration_s,
            decision: stored(BypassDecision::from_code(self.decision))?,
            requested_by: self.requested_by.clone(),
            requested_at: self.requested_at,
            expires_at: self.expires_at,
        })
    }
}

runspine_db::row! {
    /// What somebody did to a bypass.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct DeedRow {
        pub bypass_key: i64,
        pub action: String,
        pub actor_id: String,
        pub note: String,
        pub at: Micros,
    }
}

runspine_db::row! {
    /// A step that a bypass let pass.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct PassedRow {
        pub run_id: String,
        pub attempt: u32,
        pub step_index: u32,
        pub ask: u32,
        pub decision_id: String,
        pub rule_ids: String,
        pub at: Micros,
    }
}

/// Adds a request and answers with its key.
///
/// # Errors
/// When the store fails.
pub async fn add(tx: &mut Tx, row: &BypassRow, reason: &str) -> Result<Key, DbError> {
    let columns = [
        "bypass_id",
        "tenant_id",
        "scope",
        "scope_id",
        "rule_ids",
        "duration_s",
        "ticket",
        "decision",
        "requested_by",
        "requested_at",
        "expires_at",
        "epoch",
        "told",
    ];
    let args = args![
        &row.bypass_id,
        &row.tenant_id,
        row.scope,
        &row.scope_id,
        &row.rule_ids,
        row.duration_s,
        &row.ticket,
        row.decision,
        &row.requested_by,
        row.requested_at,
        row.expires_at,
        row.epoch,
        0_i64
    ];
    tx.insert_rows("bypasses", &columns, vec![args], "").await?;
    let sql = "SELECT bypass_key FROM bypasses WHERE bypass_id = $1";
    let (key,): (i64,) = tx.fetch_one(sql, args![&row.bypass_id]).await?;
    did(tx, key, ("REQUESTED", &row.requested_by, reason), row.requested_at).await?;
    Ok(key)
}

/// Notes what somebody did to a bypass; each is done once.
///
/// # Errors
/// When the store fails.
pub async fn did(
    tx: &mut Tx,
    key: Key,
    (action, actor, note): (&str, &str, &str),
    at: Micros,
) -> Result<(), DbError> {
    let columns = ["bypass_key", "action", "actor_id", "note", "at"];
    tx.insert_rows("bypass_events", &columns, vec![args![key, action, actor, note, at]], "").await?;
    Ok(())
}

/// One bypass, locked on PostgreSQL.
///
/// # Errors
/// When the store fails.
pub async fn one(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<BypassRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql =
        format!("SELECT {} FROM bypasses WHERE tenant_id = $1 AND bypass_id = $2{lock}", BypassRow::COLUMNS);
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await
}

/// What was done to bypasses, in order.
///
/// # Errors
/// When the store fails.
pub async fn deeds(tx: &mut Tx, key: Key) -> Result<Vec<DeedRow>, DbError> {
    let sql = format!("SELECT {} FROM bypass_events WHERE bypass_key = $1 ORDER BY at", DeedRow::COLUMNS);
    tx.fetch_all(AssertSqlSafe(sql), args![key]).await
}

/// The bypasses that a tenant has asked for since a time.
///
/// # Errors
/// When the store fails.
pub async fn since(tx: &mut Tx, tenant: &str, since: Micros) -> Result<Vec<Bypass>, DbError> {
    let sql = format!(
        "SELECT {} FROM bypasses WHERE tenant_id = $1 AND requested_at > $2 ORDER BY bypass_key",
        BypassRow::COLUMNS
    );
    let rows: Vec<BypassRow> = tx.fetch_all(AssertSqlSafe(sql), args![tenant, since]).await?;
    rows.iter().map(BypassRow::subject).collect()
}

/// Every approved bypass of the mesh that is not over.
///
/// # Errors
/// When the store fails.
pub async fn approved(tx: &mut Tx, now: Micros) -> Result<Vec<Bypass>, DbError> {
    let sql = format!(
        "SELECT {} FROM bypasses WHERE decision = 2 AND expires_at > $1 ORDER BY bypass_key",
        BypassRow::COLUMNS
    );
    let rows: Vec<BypassRow> = tx.fetch_all(AssertSqlSafe(sql), args![now.plus_millis(-SLACK_MS)]).await?;
    rows.iter().map(BypassRow::subject).collect()
}

/// Writes a decision that followed from the row as it is locked.
///
/// # Errors
/// When the store fails.
pub async fn decide(tx: &mut Tx, row: &BypassRow) -> Result<(), DbError> {
    let sql = "UPDATE bypasses SET decision = $1, expires_at = $2, epoch = $3 WHERE bypass_key = $4";
    tx.execute(sql, args![row.decision, row.expires_at, row.epoch, row.bypass_key]).await?;
    Ok(())
}

/// Bypasses that ended and whose end was not told, at most `most`.
///
/// # Errors
/// When the store fails.
pub async fn untold(tx: &mut Tx, now: Micros, most: i64) -> Result<Vec<BypassRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE SKIP LOCKED");
    let sql = format!(
        "SELECT {} FROM bypasses WHERE told = 0 AND decision = 2 AND expires_at <= $1 \
         ORDER BY bypass_key LIMIT $2{lock}",
        BypassRow::COLUMNS
    );
    tx.fetch_all(AssertSqlSafe(sql), args![now, most]).await
}

/// Notes that the end of a bypass was told.
///
/// # Errors
/// When the store fails.
pub async fn tell(tx: &mut Tx, key: Key) -> Result<(), DbError> {
    tx.execute("UPDATE bypasses SET told = 1 WHERE bypass_key = $1", args![key]).await?;
    Ok(())
}

/// A step that a bypass lets pass; false when it was noted before.
///
/// # Errors
/// When the store fails.
pub async fn pass(tx: &mut Tx, key: Key, passed: &PassedRow) -> Result<bool, DbError> {
    let columns = ["bypass_key", "run_id", "attempt", "step_index", "ask", "decision_id", "rule_ids", "at"];
    let row = args![
        key,
        &passed.run_id,
        passed.attempt,
        passed.step_index,
        passed.ask,
        &passed.decision_id,
        &passed.rule_ids,
        passed.at
    ];
    Ok(tx.insert_rows("bypass_uses", &columns, vec![row], "ON CONFLICT DO NOTHING").await? > 0)
}

/// The rules that a bypass let a step pass, when it was noted.
///
/// # Errors
/// When the store fails.
pub async fn passed(tx: &mut Tx, key: Key, step: &PassedRow) -> Result<Option<String>, DbError> {
    let sql = "SELECT rule_ids FROM bypass_uses WHERE bypass_key = $1 AND run_id = $2 AND attempt = $3 \
               AND step_index = $4 AND ask = $5";
    let args = args![key, &step.run_id, step.attempt, step.step_index, step.ask];
    Ok(tx.fetch_optional::<(String,)>(sql, args).await?.map(|row| row.0))
}

/// One bypass with what was done to it and the steps that it let pass.
///
/// # Errors
/// When the store fails.
pub async fn shown(
    read: &Read,
    tenant: &str,
    id: &str,
) -> Result<Option<(BypassRow, Vec<DeedRow>, Vec<PassedRow>)>, DbError> {
    let mut snapshot = read.snapshot().await?;
    let sql = format!("SELECT {} FROM bypasses WHERE tenant_id = $1 AND bypass_id = $2", BypassRow::COLUMNS);
    let found: Option<BypassRow> = snapshot.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await?;
    let Some(row) = found else { return Ok(None) };
    let sql = format!("SELECT {} FROM bypass_events WHERE bypass_key = $1 ORDER BY at", DeedRow::COLUMNS);
    let deeds = snapshot.fetch_all(AssertSqlSafe(sql), args![row.bypass_key]).await?;
    let sql = format!(
        "SELECT {} FROM bypass_uses WHERE bypass_key = $1 ORDER BY at, run_id, step_index, ask LIMIT $2",
        PassedRow::COLUMNS
    );
    let uses = snapshot.fetch_all(AssertSqlSafe(sql), args![row.bypass_key, MOST_USES]).await?;
    Ok(Some((row, deeds, uses)))
}

/// Bypasses of a tenant, newest first, from before a key, with what was done to them.
///
/// # Errors
/// When the store fails.
pub async fn list(
    read: &Read,
    tenant: &str,
    states: &[i32],
    before: Key,
    now: Micros,
    most: i64,
) -> Result<Vec<BypassRow>, DbError> {
    let states: Vec<&str> =
        states.iter().filter_map(|code| BypassState::from_code(*code)).map(state_sql).collect();
    let of_state = if states.is_empty() { String::new() } else { format!(" AND ({})", states.join(" OR ")) };
    // Every argument appears in the text, or PostgreSQL can't know its type.
    let sql = format!(
        "SELECT {} FROM bypasses WHERE tenant_id = $1 AND bypass_key < $2 AND $3 > 0 AND $4 < $3{of_state} \
         ORDER BY bypass_key DESC LIMIT $5",
        BypassRow::COLUMNS
    );
    let args: Args = args![tenant, before, now, now.plus_millis(-UNDECIDED_MS), most];
    read.fetch_all(AssertSqlSafe(sql), args).await
}

/// Every bypass that holds, of all tenants, for those who follow the epoch.
///
/// # Errors
/// When the store fails.
pub async fn active(read: &Read, now: Micros) -> Result<Vec<BypassRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM bypasses WHERE decision = 2 AND expires_at > $1 ORDER BY bypass_key",
        BypassRow::COLUMNS
    );
    read.fetch_all(AssertSqlSafe(sql), args![now]).await
}

/// What was done to some bypasses, in order.
///
/// # Errors
/// When the store fails.
pub async fn deeds_of(read: &Read, keys: &[Key]) -> Result<Vec<DeedRow>, DbError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let list: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let sql = format!(
        "SELECT {} FROM bypass_events WHERE bypass_key IN ({}) ORDER BY at",
        DeedRow::COLUMNS,
        list.join(",")
    );
    read.fetch_all(AssertSqlSafe(sql), args![]).await
}

/// A state as a condition: $3 is now, $4 the time before which a request is undecided too long.
fn state_sql(state: BypassState) -> &'static str {
    match state {
        BypassState::Requested => "(decision = 1 AND requested_at > $4)",
        BypassState::Active => "(decision = 2 AND expires_at > $3)",
        BypassState::Rejected => "decision = 3",
        BypassState::Expired => {
            "((decision = 1 AND requested_at <= $4) OR (decision = 2 AND expires_at <= $3))"
        }
        BypassState::Revoked => "decision = 4",
    }
}
