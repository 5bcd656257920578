//! Overrides, what was decided about them, and what they were used for.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    limit::Key,
    overrides::{Decision, Override, OverrideState, UNDECIDED_MS},
};
use runspine_db::{Args, AssertSqlSafe, DbError, Read, Tx, args};
use runspine_rpc::timestamp;
use runspine_types::{Micros, PLATFORM_TENANT};

use super::{desk::Desk, events::publish};
use crate::{app::records::Caller, words::stored};

runspine_db::row! {
    /// An override.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct OverrideRow {
        pub override_key: i64,
        pub override_id: String,
        pub tenant_id: String,
        pub limit_key: i64,
        pub limit_id: String,
        pub scope_id: String,
        pub value: i64,
        pub base_value: i64,
        pub needed: u32,
        pub decision: i32,
        pub requested_by: String,
        pub reason: String,
        pub requested_at: Micros,
        pub starts_at: Option<Micros>,
        pub ends_at: Micros,
        pub version: u32,
        pub told: i64,
    }
}

impl OverrideRow {
    /// The override, as the rules want it.
    ///
    /// # Errors
    /// When a stored word is not known.
    pub fn subject(&self) -> Result<Override, DbError> {
        Ok(Override {
            key: self.override_key,
            id: self.override_id.clone(),
            limit_key: self.limit_key,
            limit_id: self.limit_id.clone(),
            scope_id: self.scope_id.clone(),
            value: self.value,
            base_value: self.base_value,
            needed: self.needed,
            decision: stored(Decision::from_code(self.decision))?,
            requested_by: self.requested_by.clone(),
            requested_at: self.requested_at,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            version: self.version,
        })
    }
}

runspine_db::row! {
    /// What was said of an override.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct SaidRow {
        pub action: String,
        pub actor_id: String,
        pub note: String,
        pub at: Micros,
    }
}

/// The action of an approval.
pub const APPROVED: &str = "APPROVED";

/// Adds an override and answers with its key.
///
/// # Errors
/// When the store fails.
pub async fn add(tx: &mut Tx, row: &OverrideRow) -> Result<i64, DbError> {
    let columns = [
        "override_id",
        "tenant_id",
        "limit_key",
        "limit_id",
        "scope_id",
        "value",
        "base_value",
        "needed",
        "decision",
        "requested_by",
        "reason",
        "requested_at",
        "starts_at",
        "ends_at",
        "version",
        "told",
    ];
    let args = args![
        &row.override_id,
        &row.tenant_id,
        row.limit_key,
        &row.limit_id,
        &row.scope_id,
        row.value,
        row.base_value,
        row.needed,
        row.decision,
        &row.requested_by,
        &row.reason,
        row.requested_at,
        row.starts_at,
        row.ends_at,
        row.version,
        row.told
    ];
    tx.insert_rows("overrides", &columns, vec![args], "").await?;
    let sql = "SELECT override_key FROM overrides WHERE override_id = $1";
    let (key,): (i64,) = tx.fetch_one(sql, args![&row.override_id]).await?;
    said(tx, key, 1, ("REQUESTED", &row.requested_by, &row.reason), row.requested_at).await?;
    Ok(key)
}

/// Writes what was said of an override; each version of it says one thing.
///
/// # Errors
/// When the store fails.
pub async fn said(
    tx: &mut Tx,
    key: i64,
    seq: u32,
    (action, actor, note): (&str, &str, &str),
    at: Micros,
) -> Result<(), DbError> {
    let columns = ["override_key", "seq", "action", "actor_id", "note", "at"];
    tx.insert_rows("override_events", &columns, vec![args![key, seq, action, actor, note, at]], "").await?;
    Ok(())
}

/// One override, locked on PostgreSQL.
///
/// # Errors
/// When the store fails.
pub async fn one(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<OverrideRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE");
    let sql = format!(
        "SELECT {} FROM overrides WHERE tenant_id = $1 AND override_id = $2{lock}",
        OverrideRow::COLUMNS
    );
    tx.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await
}

/// What was said of an override, in order.
///
/// # Errors
/// When the store fails.
pub async fn history(tx: &mut Tx, key: i64) -> Result<Vec<SaidRow>, DbError> {
    let sql =
        format!("SELECT {} FROM override_events WHERE override_key = $1 ORDER BY seq", SaidRow::COLUMNS);
    tx.fetch_all(AssertSqlSafe(sql), args![key]).await
}

/// Overrides that may be open: not rejected, not cancelled, and not over.
///
/// # Errors
/// When the store fails.
pub async fn open(tx: &mut Tx, tenant: &str, now: Micros) -> Result<Vec<Override>, DbError> {
    let sql = format!(
        "SELECT {} FROM overrides WHERE tenant_id = $1 AND decision IN (1, 2) AND ends_at > $2 ORDER BY override_key",
        OverrideRow::COLUMNS
    );
    let rows: Vec<OverrideRow> = tx.fetch_all(AssertSqlSafe(sql), args![tenant, now]).await?;
    rows.iter().map(OverrideRow::subject).collect()
}

/// The text that reads every approved override that counts for a tenant, its own and the mesh's. Those that are over say
/// so themselves.
fn approved_sql() -> String {
    format!(
        "SELECT {} FROM overrides WHERE (tenant_id = $1 OR tenant_id = $2) AND decision = 2 AND told < 2 \
         ORDER BY override_key",
        OverrideRow::COLUMNS
    )
}

/// Every approved override that counts for a tenant.
///
/// # Errors
/// When the store fails.
pub async fn approved(tx: &mut Tx, tenant: &str) -> Result<Vec<Override>, DbError> {
    let rows: Vec<OverrideRow> =
        tx.fetch_all(AssertSqlSafe(approved_sql()), args![tenant, PLATFORM_TENANT]).await?;
    rows.iter().map(OverrideRow::subject).collect()
}

/// The same for those who look on.
///
/// # Errors
/// When the store fails.
pub async fn approved_of(read: &Read, tenant: &str) -> Result<Vec<Override>, DbError> {
    let rows: Vec<OverrideRow> =
        read.fetch_all(AssertSqlSafe(approved_sql()), args![tenant, PLATFORM_TENANT]).await?;
    rows.iter().map(OverrideRow::subject).collect()
}

/// Writes a decision; false when another came first.
///
/// # Errors
/// When the store fails.
pub async fn decide(tx: &mut Tx, next: &Override) -> Result<bool, DbError> {
    let sql = "UPDATE overrides SET decision = $1, starts_at = $2, version = $3 \
               WHERE override_key = $4 AND version = $5";
    let args = args![next.decision.code(), next.starts_at, next.version, next.key, next.version - 1];
    Ok(tx.execute(sql, args).await? > 0)
}

/// Overrides whose begin or end was not told yet, at most `most`.
///
/// # Errors
/// When the store fails.
pub async fn untold(tx: &mut Tx, now: Micros, most: i64) -> Result<Vec<OverrideRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE SKIP LOCKED");
    let sql = format!(
        "SELECT {} FROM overrides WHERE told < 2 AND decision IN (1, 2) AND (ends_at <= $1 \
         OR (decision = 1 AND requested_at <= $2) OR (decision = 2 AND told = 0 AND starts_at <= $1)) \
         ORDER BY override_key LIMIT $3{lock}",
        OverrideRow::COLUMNS
    );
    tx.fetch_all(AssertSqlSafe(sql), args![now, now.plus_millis(-UNDECIDED_MS), most]).await
}

/// Notes what was told of an override.
///
/// # Errors
/// When the store fails.
pub async fn tell(tx: &mut Tx, key: i64, told: i64) -> Result<(), DbError> {
    tx.execute("UPDATE overrides SET told = $1 WHERE override_key = $2", args![told, key]).await?;
    Ok(())
}

/// An override changed an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NewUse {
    pub key: Key,
    pub override_id: String,
    pub run: Key,
    /// -1: the start of the run.
    pub step: i64,
    pub value_without: i64,
    pub value_with: i64,
    pub at: Micros,
}

impl Desk<'_> {
    /// Of the uses of an override by a run the first stays, and is told with the run.
    pub(super) async fn flush_uses(&mut self) -> Result<(), DbError> {
        for used in std::mem::take(&mut self.uses) {
            let columns = ["override_key", "run_key", "step_index", "value_without", "value_with", "at"];
            let row = args![used.key, used.run, used.step, used.value_without, used.value_with, used.at];
            let fresh =
                self.tx.insert_rows("override_uses", &columns, vec![row], "ON CONFLICT DO NOTHING").await?;
            if fresh > 0 {
                self.publish_use(used);
            }
        }
        Ok(())
    }

    fn publish_use(&mut self, used: NewUse) {
        let Some(tenant) = self.run_by_key(used.run).map(|run| run.tenant_id.clone()) else { return };
        let mut about = self.about_run(used.run, "override", used.override_id.clone());
        about.step_index = u32::try_from(used.step).ok();
        let data = pb::OverrideConsumed {
            r#use: Some(pb::OverrideUse {
                override_id: used.override_id,
                run_id: about.run_id.clone(),
                attempt: about.attempt,
                step_index: about.step_index,
                value_without: used.value_without,
                value_with: used.value_with,
                at: Some(timestamp(used.at)),
            }),
        };
        publish(self.tx, &Caller::mesh(&tenant), "OverrideConsumed", about, &data, used.at);
    }
}

/// One override, with what was said of it and its first uses.
///
/// # Errors
/// When the store fails.
pub async fn shown(
    read: &Read,
    tenant: &str,
    id: &str,
) -> Result<Option<(OverrideRow, Vec<SaidRow>, Vec<UseRow>)>, DbError> {
    let mut snapshot = read.snapshot().await?;
    let sql =
        format!("SELECT {} FROM overrides WHERE tenant_id = $1 AND override_id = $2", OverrideRow::COLUMNS);
    let found: Option<OverrideRow> = snapshot.fetch_optional(AssertSqlSafe(sql), args![tenant, id]).await?;
    let Some(row) = found else { return Ok(None) };
    let sql =
        format!("SELECT {} FROM override_events WHERE override_key = $1 ORDER BY seq", SaidRow::COLUMNS);
    let said = snapshot.fetch_all(AssertSqlSafe(sql), args![row.override_key]).await?;
    let sql = uses_sql("u.override_key = $1");
    let uses = snapshot.fetch_all(AssertSqlSafe(sql), args![row.override_key, MOST_USES]).await?;
    Ok(Some((row, said, uses)))
}

/// Uses that are shown of an override.
const MOST_USES: i64 = 500;

runspine_db::row! {
    /// A use, with the run that it was for.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct UseRow {
        pub override_id: String,
        pub run_id: String,
        pub attempt: u32,
        pub step_index: i64,
        pub value_without: i64,
        pub value_with: i64,
        pub at: Micros,
    }
}

fn uses_sql(condition: &str) -> String {
    format!(
        "SELECT o.override_id, r.run_id, r.attempt, u.step_index, u.value_without, u.value_with, u.at \
         FROM override_uses u JOIN overrides o ON o.override_key = u.override_key \
         JOIN run_leases r ON r.run_key = u.run_key WHERE {condition} ORDER BY u.at, u.run_key LIMIT $2"
    )
}

/// Uses of overrides by a run, oldest first.
///
/// # Errors
/// When the store fails.
pub async fn uses_of_run(read: &Read, run: Key, most: i64) -> Result<Vec<UseRow>, DbError> {
    read.fetch_all(AssertSqlSafe(uses_sql("u.run_key = $1")), args![run, most]).await
}

/// Overrides of a tenant, newest first, from before a key.
///
/// # Errors
/// When the store fails.
pub async fn list(
    read: &Read,
    tenant: &str,
    filter: &pb::ListOverridesRequest,
    before: i64,
    now: Micros,
    most: i64,
) -> Result<Vec<OverrideRow>, DbError> {
    let states: Vec<&str> =
        filter.states.iter().filter_map(|code| OverrideState::from_code(*code)).map(state_sql).collect();
    let of_state = if states.is_empty() { String::new() } else { format!(" AND ({})", states.join(" OR ")) };
    let of_limit = if filter.limit_id.is_empty() { "$5 = ''" } else { "limit_id = $5" };
    // Every argument appears in the text, or PostgreSQL can't know its type.
    let sql = format!(
        "SELECT {} FROM overrides WHERE tenant_id = $1 AND override_key < $2 AND {of_limit} AND $3 > 0 AND $4 < $3\
         {of_state} ORDER BY override_key DESC LIMIT $6",
        OverrideRow::COLUMNS
    );
    let undecided = now.plus_millis(-UNDECIDED_MS);
    let args: Args = args![tenant, before, now, undecided, &filter.limit_id, most];
    read.fetch_all(AssertSqlSafe(sql), args).await
}

/// A state as a condition: $3 is now, $4 the time before which a request is undecided too long.
fn state_sql(state: OverrideState) -> &'static str {
    match state {
        OverrideState::Pending => "(decision = 1 AND requested_at > $4 AND ends_at > $3)",
        OverrideState::Approved => "(decision = 2 AND starts_at > $3 AND ends_at > $3)",
        OverrideState::Active => "(decision = 2 AND starts_at <= $3 AND ends_at > $3)",
        OverrideState::Rejected => "decision = 3",
        OverrideState::Cancelled => "decision = 4",
        OverrideState::Expired => {
            "(decision IN (1, 2) AND (ends_at <= $3 OR (decision = 1 AND requested_at <= $4)))"
        }
    }
}
