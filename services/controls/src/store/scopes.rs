//! Execution scopes, their uses, and how those ended.

use runspine_controls_domain::{
    execution::{ExecutionScope, Risk, ScopeState, UseHold},
    limit::Key,
};
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::Micros;

use crate::words::stored;

runspine_db::row! {
    /// A scope.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct ScopeRow {
        pub scope_key: i64,
        pub scope_id: String,
        pub tenant_id: String,
        pub incident_id: String,
        pub action: String,
        pub intent: String,
        pub kind: i32,
        pub fraction_permille: u32,
        pub risk: i32,
        pub agent_ids: String,
        pub max_cost: i64,
        pub max_attempts: u32,
        pub created_by: String,
        pub created_at: Micros,
        pub expires_at: Micros,
        pub attempts: u32,
        pub settled: i64,
        pub held: i64,
        pub held_for: String,
        pub held_until: Option<Micros>,
        pub revoked_by: String,
        pub revoked_at: Option<Micros>,
        pub revoke_reason: String,
    }
}

impl ScopeRow {
    /// The scope, as the rules want it.
    ///
    /// # Errors
    /// When a stored word is not known.
    pub fn subject(&self) -> Result<ExecutionScope, DbError> {
        let hold = |until| UseHold { attempt_id: self.held_for.clone(), amount: self.held, until };
        Ok(ExecutionScope {
            id: self.scope_id.clone(),
            incident_id: self.incident_id.clone(),
            action: self.action.clone(),
            risk: stored(Risk::from_code(self.risk))?,
            max_cost: self.max_cost,
            max_attempts: self.max_attempts,
            expires_at: self.expires_at,
            revoked: self.revoked_at.is_some(),
            attempts: self.attempts,
            settled: self.settled,
            held: self.held_until.map(hold),
        })
    }

    /// Takes over what the rules have made of it.
    pub fn take(&mut self, scope: &ExecutionScope) {
        (self.attempts, self.settled) = (scope.attempts, scope.settled);
        self.held = scope.held.as_ref().map_or(0, |hold| hold.amount);
        self.held_until = scope.held.as_ref().map(|hold| hold.until);
        self.held_for = scope.held.as_ref().map(|hold| hold.attempt_id.clone()).unwrap_or_default();
    }
}

runspine_db::row! {
    /// A use, with its end when it has one.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct UseRow {
        pub attempt_id: String,
        pub scope_key: i64,
        pub number: u32,
        pub hold_id: String,
        pub risk: i32,
        pub estimate: i64,
        pub consumed_at: Micros,
        pub actual: Option<i64>,
        pub outcome: Option<i32>,
        pub settled_at: Option<Micros>,
    }
}

const USES: &str = "SELECT u.attempt_id AS attempt_id, u.scope_key AS scope_key, u.number AS number, \
    u.hold_id AS hold_id, u.risk AS risk, u.estimate AS estimate, u.consumed_at AS consumed_at, \
    e.actual AS actual, e.outcome AS outcome, e.settled_at AS settled_at FROM scope_uses u \
    LEFT JOIN scope_use_ends e ON e.tenant_id = u.tenant_id AND e.attempt_id = u.attempt_id";

/// Adds a scope.
///
/// # Errors
/// When the store fails.
pub async fn add(tx: &mut Tx, row: &ScopeRow) -> Result<(), DbError> {
    let columns = [
        "scope_id",
        "tenant_id",
        "incident_id",
        "action",
        "intent",
        "kind",
        "fraction_permille",
        "risk",
        "agent_ids",
        "max_cost",
        "max_attempts",
        "created_by",
        "created_at",
        "expires_at",
        "attempts",
        "settled",
        "held",
        "held_for",
        "revoked_by",
        "revoke_reason",
    ];
    let args = args![
        &row.scope_id,
        &row.tenant_id,
        &row.incident_id,
        &row.action,
        &row.intent,
        row.kind,
        row.fraction_permille,
        row.risk,
        &row.agent_ids,
        row.max_cost,
        row.max_attempts,
        &row.created_by,
        row.created_at,
        row.expires_at,
        row.attempts,
        row.settled,
        row.held,
        &row.held_for,
        &row.revoked_by,
        &row.revoke_reason
    ];
    tx.insert_rows("scopes", &columns, vec![args], "").await?;
    Ok(())
}

/// One scope, locked on PostgreSQL.
///
/// # Errors
/// When the store fails.
pub async fn one(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<ScopeRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql =
        format!("SELECT {} FROM scopes WHERE tenant_id = $1 AND scope_id = $2{lock}", ScopeRow::COLUMNS);
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await
}

/// The scope of a use, locked on PostgreSQL.
///
/// # Errors
/// When the store fails.
pub async fn of_use(tx: &mut Tx, tenant: &str, attempt_id: &str) -> Result<Option<ScopeRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql = format!(
        "SELECT {} FROM scopes WHERE tenant_id = $1 AND scope_key = \
         (SELECT scope_key FROM scope_uses WHERE tenant_id = $1 AND attempt_id = $2){lock}",
        ScopeRow::COLUMNS
    );
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, attempt_id]).await
}

/// Writes what became of a scope.
///
/// # Errors
/// When the store fails.
pub async fn save(tx: &mut Tx, row: &ScopeRow) -> Result<(), DbError> {
    let sql = "UPDATE scopes SET attempts = $1, settled = $2, held = $3, held_for = $4, held_until = $5, \
               revoked_by = $6, revoked_at = $7, revoke_reason = $8 WHERE scope_key = $9";
    let args = args![
        row.attempts,
        row.settled,
        row.held,
        &row.held_for,
        row.held_until,
        &row.revoked_by,
        row.revoked_at,
        &row.revoke_reason,
        row.scope_key
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Notes a use that has begun.
///
/// # Errors
/// When the store fails.
pub async fn add_use(tx: &mut Tx, tenant: &str, by: &str, row: &UseRow) -> Result<(), DbError> {
    let columns = [
        "tenant_id",
        "attempt_id",
        "scope_key",
        "number",
        "hold_id",
        "risk",
        "estimate",
        "consumed_by",
        "consumed_at",
    ];
    let args = args![
        tenant,
        &row.attempt_id,
        row.scope_key,
        row.number,
        &row.hold_id,
        row.risk,
        row.estimate,
        by,
        row.consumed_at
    ];
    tx.insert_rows("scope_uses", &columns, vec![args], "").await?;
    Ok(())
}

/// Notes how a use ended.
///
/// # Errors
/// When the store fails.
pub async fn end_use(
    tx: &mut Tx,
    tenant: &str,
    attempt_id: &str,
    (actual, outcome): (i64, i32),
    at: Micros,
) -> Result<(), DbError> {
    let columns = ["tenant_id", "attempt_id", "actual", "outcome", "settled_at"];
    let row = args![tenant, attempt_id, actual, outcome, at];
    tx.insert_rows("scope_use_ends", &columns, vec![row], "").await?;
    Ok(())
}

/// One scope with its uses, in order.
///
/// # Errors
/// When the store fails.
pub async fn shown(read: &Read, tenant: &str, id: &str) -> Result<Option<(ScopeRow, Vec<UseRow>)>, DbError> {
    let mut snapshot = read.snapshot().await?;
    let sql = format!("SELECT {} FROM scopes WHERE tenant_id = $1 AND scope_id = $2", ScopeRow::COLUMNS);
    let found: Option<ScopeRow> = snapshot.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await?;
    let Some(row) = found else { return Ok(None) };
    let sql = format!("{USES} WHERE u.scope_key = $1 ORDER BY u.number");
    let uses = snapshot.fetch_all(AssertSqlSafe(sql), args![row.scope_key]).await?;
    Ok(Some((row, uses)))
}

/// Scopes of a tenant, newest first, from before a key.
///
/// # Errors
/// When the store fails.
pub async fn list(
    read: &Read,
    tenant: &str,
    incident_id: &str,
    states: &[i32],
    before: Key,
    now: Micros,
    most: i64,
) -> Result<Vec<ScopeRow>, DbError> {
    let states: Vec<&str> =
        states.iter().filter_map(|code| ScopeState::from_code(*code)).map(state_sql).collect();
    let of_state = if states.is_empty() { String::new() } else { format!(" AND ({})", states.join(" OR ")) };
    // Every argument appears in the text, or PostgreSQL can't know its type.
    let sql = format!(
        "SELECT {} FROM scopes WHERE tenant_id = $1 AND scope_key < $2 AND $3 > 0 \
         AND ($4 = '' OR incident_id = $4){of_state} ORDER BY scope_key DESC LIMIT $5",
        ScopeRow::COLUMNS
    );
    let args: Args = args![tenant, before, now, incident_id, most];
    read.fetch_all(AssertSqlSafe(sql), args).await
}

/// A state as a condition: $3 is now.
fn state_sql(state: ScopeState) -> &'static str {
    match state {
        ScopeState::Active => {
            "(revoked_at IS NULL AND attempts < max_attempts AND settled < max_cost AND expires_at > $3)"
        }
        ScopeState::Exhausted => "(revoked_at IS NULL AND (attempts >= max_attempts OR settled >= max_cost))",
        ScopeState::Expired => {
            "(revoked_at IS NULL AND attempts < max_attempts AND settled < max_cost AND expires_at <= $3)"
        }
        ScopeState::Revoked => "revoked_at IS NOT NULL",
    }
}
