//! What was decided about alerts.

use runspine_controls_domain::{
    alert::{
        Alert, BURST, BURST_MS, Decision, HOUR_MS, HOUR_RATE, History, KEY_RATE, MINUTE_MS, SAME_MS,
        TYPE_RATE,
    },
    limit::Key,
};
use runspine_db::{AssertSqlSafe, DbError, Read, Tx, args};
use runspine_types::Micros;

use super::views::Where;

runspine_db::row! {
    /// A decision as it is shown.
    #[derive(Debug, Clone)]
    #[allow(missing_docs)]
    pub struct AlertRow {
        pub decision_key: i64,
        pub event_id: String,
        pub kind: String,
        pub scope: String,
        pub limit_id: String,
        pub agent_id: String,
        pub run_id: String,
        pub severity: i32,
        pub domain: String,
        pub proximity_permille: Option<u32>,
        pub resolves: bool,
        pub finding: i32,
        pub result: i32,
        pub mode: i32,
        pub count: u64,
        pub at: Micros,
    }
}

runspine_db::row! {
    /// A [`History`] as it is read.
    #[derive(Debug)]
    struct HistoryRow {
        same_at: Option<Micros>,
        run_at: Option<Micros>,
        run_count: Option<u32>,
        domain_at: Option<Micros>,
        arrived: u32,
        key_at: Option<Micros>,
        unresolved: Option<u32>,
        of_type: u32,
        burst: u32,
        hour: u32,
        cooling_until: Option<Micros>,
        pending: Option<u64>,
    }
}

/// Everything that the stages ask about, in one statement: each part is the end of an index, and no count goes beyond
/// what a stage wants to know. $1 tenant, $2 type, $3 scope, $4 limit, $5 agent, $6 run, $7 domain.
fn history_sql() -> String {
    let key = "tenant_id = $1 AND scope = $3 AND limit_id = $4 AND agent_id = $5";
    let of_run = "tenant_id = $1 AND kind = $2 AND run_id = $6 AND finding = 1";
    let last = |column: &str, of: &str| {
        format!("(SELECT {column} FROM alert_decisions WHERE {of} ORDER BY decision_key DESC LIMIT 1)")
    };
    let newest = |of: &str, most: u32, since: &str| {
        format!(
            "(SELECT COUNT(*) FROM (SELECT at FROM alert_decisions WHERE {of} ORDER BY decision_key DESC \
             LIMIT {most}) AS newest WHERE newest.at > {since})"
        )
    };
    let parts = [
        ("same_at", last("at", &format!("{of_run} AND scope = $3 AND limit_id = $4 AND at > $8"))),
        ("run_at", last("at", &format!("{of_run} AND counts = 1"))),
        ("run_count", last("run_count", &format!("{of_run} AND counts = 1"))),
        ("domain_at", last("at", &format!("{key} AND domain = $7 AND counts = 1"))),
        // 4 is CRITICAL, 11 NOT_WANTED: neither weighs on its key.
        ("arrived", newest(&format!("{key} AND severity <> 4 AND finding <> 11"), KEY_RATE, "$9")),
        ("key_at", last("key_at", key)),
        ("unresolved", last("unresolved", key)),
        ("of_type", newest("tenant_id = $1 AND kind = $2 AND counts = 1", TYPE_RATE, "$9")),
        ("burst", newest("tenant_id = $1 AND counts = 1", BURST, "$10")),
        ("hour", newest("tenant_id = $1 AND counts = 1", HOUR_RATE, "$11")),
        ("cooling_until", last("cooling_until", "tenant_id = $1")),
        ("pending", last("pending", "tenant_id = $1 AND kind = $2")),
    ];
    let parts: Vec<String> = parts.iter().map(|(name, sql)| format!("{sql} AS {name}")).collect();
    format!("SELECT {}", parts.join(", "))
}

/// What the decisions of a tenant say to an alert. The caller has locked the tenant's settings.
///
/// # Errors
/// When the store fails.
pub async fn history(tx: &mut Tx, tenant: &str, alert: &Alert, now: Micros) -> Result<History, DbError> {
    let back = |ms: i64| now.plus_millis(-ms);
    let args = args![
        tenant,
        &alert.kind,
        &alert.key.scope,
        &alert.key.limit_id,
        &alert.key.agent_id,
        &alert.run_id,
        &alert.domain,
        back(SAME_MS),
        back(MINUTE_MS),
        back(BURST_MS),
        back(HOUR_MS)
    ];
    let row: HistoryRow = tx.fetch_one(AssertSqlSafe(history_sql()), args).await?;
    Ok(History {
        same_at: row.same_at,
        run_at: row.run_at,
        run_count: row.run_count.unwrap_or(0),
        domain_at: row.domain_at,
        arrived: row.arrived,
        key_at: row.key_at,
        unresolved: row.unresolved.unwrap_or(0),
        of_type: row.of_type,
        burst: row.burst,
        hour: row.hour,
        cooling_until: row.cooling_until,
        pending: row.pending.unwrap_or(0),
    })
}

/// Writes a decision.
///
/// # Errors
/// When the store fails.
pub async fn add(
    tx: &mut Tx,
    (tenant, event_id): (&str, &str),
    alert: &Alert,
    decision: &Decision,
    at: Micros,
) -> Result<(), DbError> {
    let columns = [
        "tenant_id",
        "event_id",
        "kind",
        "scope",
        "limit_id",
        "agent_id",
        "run_id",
        "severity",
        "domain",
        "proximity_permille",
        "resolves",
        "finding",
        "result",
        "mode",
        "count",
        "counts",
        "run_count",
        "key_at",
        "unresolved",
        "cooling_until",
        "pending",
        "at",
    ];
    let after = &decision.after;
    let row = args![
        tenant,
        event_id,
        &alert.kind,
        &alert.key.scope,
        &alert.key.limit_id,
        &alert.key.agent_id,
        &alert.run_id,
        alert.severity.code(),
        &alert.domain,
        alert.proximity_permille,
        alert.resolves,
        decision.finding.code(),
        decision.result.code(),
        decision.mode.code(),
        decision.count,
        after.counts,
        after.run_count,
        after.key_at,
        after.unresolved,
        after.cooling_until,
        after.pending,
        at
    ];
    tx.insert_rows("alert_decisions", &columns, vec![row], "").await?;
    Ok(())
}

/// What a list of decisions is narrowed to.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct AlertFilter {
    pub kind: Option<String>,
    pub results: Vec<i32>,
    pub run_id: Option<String>,
    pub limit_id: Option<String>,
    pub since: Option<Micros>,
    pub until: Option<Micros>,
}

/// Decisions of a tenant, newest first, from before a key.
///
/// # Errors
/// When the store fails.
pub async fn list(
    read: &Read,
    tenant: &str,
    filter: &AlertFilter,
    before: Key,
    most: i64,
) -> Result<Vec<AlertRow>, DbError> {
    let mut when = Where::new("tenant_id = $1 AND decision_key < $2", args![tenant, before]);
    when.and("kind = ?", filter.kind.as_ref());
    when.one_of("result", &filter.results);
    when.and("run_id = ?", filter.run_id.as_ref());
    when.and("limit_id = ?", filter.limit_id.as_ref());
    when.and("at >= ?", filter.since);
    when.and("at < ?", filter.until);
    let most = when.place(most);
    let sql = format!(
        "SELECT {} FROM alert_decisions WHERE {} ORDER BY decision_key DESC LIMIT {most}",
        AlertRow::COLUMNS,
        when.text
    );
    read.fetch_all(AssertSqlSafe(sql), when.args).await
}
