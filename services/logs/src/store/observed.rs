//! Runs that exist only as spans: which run an OpenTelemetry trace is, the roots, and who has to be looked after.

use std::collections::HashMap;

use runspine_db::{Args, AssertSqlSafe, DbError, Dialect, Read, Tuples, Tx, args};
use runspine_types::Micros;

use super::contract::ClaimScope;

/// The runs of those of `traces` that were seen, by OpenTelemetry trace.
///
/// # Errors
/// When the store can't be read.
pub async fn runs_of(
    read: &Read,
    tenant_id: &str,
    traces: impl Iterator<Item = &str>,
) -> Result<HashMap<String, String>, DbError> {
    let mut found = HashMap::new();
    for (sql, args) in runs_sql(read.dialect(), tenant_id, traces) {
        found.extend(read.fetch_all::<(String, String)>(AssertSqlSafe(sql), args).await?);
    }
    Ok(found)
}

/// Remembers the run of each trace that was not seen before, and gives the run that each has now.
///
/// # Errors
/// When the store can't be written.
pub async fn remember(
    tx: &mut Tx,
    tenant_id: &str,
    runs: &HashMap<String, String>,
    now: Micros,
) -> Result<HashMap<String, String>, DbError> {
    let row = |(trace, run_id): (&String, &String)| -> Args { args![tenant_id, trace, run_id, now] };
    let columns = ["tenant_id", "otel_trace", "run_id", "seen_at"];
    let seen = "ON CONFLICT (tenant_id, otel_trace) DO NOTHING";
    tx.insert_rows("otlp_runs", &columns, runs.iter().map(row).collect(), seen).await?;
    let mut found = HashMap::new();
    for (sql, args) in runs_sql(tx.dialect(), tenant_id, runs.keys().map(String::as_str)) {
        found.extend(tx.fetch_all::<(String, String)>(AssertSqlSafe(sql), args).await?);
    }
    Ok(found)
}

fn runs_sql<'a>(
    dialect: Dialect,
    tenant_id: &str,
    traces: impl Iterator<Item = &'a str>,
) -> Vec<(String, Args)> {
    let mut tuples = Tuples::new(2);
    traces.for_each(|trace| tuples.push(args![tenant_id, trace]));
    let statement = |(values, args): (String, Args)| {
        let sql = format!(
            "SELECT o.otel_trace, o.run_id FROM {values} AS w CROSS JOIN otlp_runs o \
             WHERE o.tenant_id = w.column1 AND o.otel_trace = w.column2"
        );
        (sql, args)
    };
    tuples.parts(dialect).map(statement).collect()
}

/// A root of an observed run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The trace of the run.
    pub trace_key: i64,
    /// Its name, `traceid:spanid`.
    pub span: String,
    /// The code of its failure; `None`: it went well.
    pub failure: Option<String>,
}

/// Keeps roots.
///
/// # Errors
/// When the store can't be written.
pub async fn insert_roots(tx: &mut Tx, roots: Vec<Root>, now: Micros) -> Result<(), DbError> {
    let columns = ["trace_key", "span", "failed", "code", "received_at"];
    let row = |root: Root| -> Args {
        let failed = root.failure.is_some();
        args![root.trace_key, root.span, failed, root.failure.unwrap_or_default(), now]
    };
    tx.insert_rows("otlp_roots", &columns, roots.into_iter().map(row).collect(), "").await?;
    Ok(())
}

/// Whether a root of the trace came.
///
/// # Errors
/// When the store can't be read.
pub async fn is_rooted(tx: &mut Tx, trace_key: i64) -> Result<bool, DbError> {
    let found: Option<(i64,)> = tx.fetch_optional(ROOTED, args![trace_key]).await?;
    Ok(found.is_some())
}

/// The same outside of a transaction.
///
/// # Errors
/// When the store can't be read.
pub async fn was_rooted(read: &Read, trace_key: i64) -> Result<bool, DbError> {
    let found: Option<(i64,)> = read.fetch_optional(ROOTED, args![trace_key]).await?;
    Ok(found.is_some())
}

const ROOTED: &str = "SELECT failed FROM otlp_roots WHERE trace_key = $1 LIMIT 1";

/// An observed run begins.
///
/// # Errors
/// When the store can't be written.
pub async fn begin(tx: &mut Tx, trace_key: i64, (now, look_at): (Micros, Micros)) -> Result<(), DbError> {
    let sql = "INSERT INTO observed_runs (trace_key, last_span_at, look_at, quiet) VALUES ($1, $2, $3, 0)";
    tx.execute(sql, args![trace_key, now, look_at]).await?;
    Ok(())
}

/// Spans of an observed run came: it is looked after at `look_at`, or before when that was the plan. One that counts as
/// ended stays so.
///
/// # Errors
/// When the store can't be written.
pub async fn touch(tx: &mut Tx, trace_key: i64, (now, look_at): (Micros, Micros)) -> Result<(), DbError> {
    let sql = "UPDATE observed_runs SET last_span_at = $2, look_at = CASE WHEN look_at > $3 THEN $3 ELSE look_at END \
               WHERE trace_key = $1 AND quiet = 0";
    tx.execute(sql, args![trace_key, now, look_at]).await?;
    Ok(())
}

runspine_db::row! {
    /// An observed run that has to be looked after.
    #[derive(Debug, Clone)]
    pub struct DueRow {
        /// Its trace.
        pub trace_key: i64,
        /// The tenant.
        pub tenant_id: String,
        /// The run.
        pub run_id: String,
        /// The attempt.
        pub attempt: u32,
        /// The trace's id.
        pub trace_id: String,
        /// When it was started here.
        pub started_at: Micros,
        /// When its newest span was stored; its start when it has none.
        pub last_span_at: Micros,
        /// Why it counts as ended; 0: it goes on.
        pub quiet: i32,
        /// Whether its trace is sealed.
        pub sealed: bool,
        /// Roots that came.
        pub roots: i64,
        /// The code of a root that failed.
        pub root_code: Option<String>,
    }
}

/// The runs that have to be looked after at `now`, longest due first; what another replica is about to take is passed
/// over.
///
/// # Errors
/// When the store can't be read.
pub async fn due(tx: &mut Tx, scope: &ClaimScope, now: Micros, limit: u32) -> Result<Vec<DueRow>, DbError> {
    let lock = tx.dialect().pick("", " FOR UPDATE OF o SKIP LOCKED");
    let sql = format!(
        "SELECT o.trace_key, t.tenant_id, t.run_id, t.attempt, t.trace_id, t.started_at, o.last_span_at, o.quiet, h.sealed, \
         (SELECT COUNT(*) FROM otlp_roots r WHERE r.trace_key = o.trace_key) AS roots, \
         (SELECT MAX(r.code) FROM otlp_roots r WHERE r.trace_key = o.trace_key AND r.failed = 1) AS root_code \
         FROM observed_runs o JOIN traces t ON t.trace_key = o.trace_key \
         JOIN trace_heads h ON h.trace_key = o.trace_key \
         WHERE o.look_at IS NOT NULL AND o.look_at <= $1 AND ($2 = 1 OR t.tenant_id = $3) \
         ORDER BY o.look_at, o.trace_key LIMIT $4{lock}"
    );
    let (any, tenant) = scope.values();
    tx.fetch_all(AssertSqlSafe(sql), args![now, any, tenant, limit]).await
}

/// Says when a run is looked after next (`None`: it is sealed), and why it counts as ended.
///
/// # Errors
/// When the store can't be written.
pub async fn plan(tx: &mut Tx, trace_key: i64, look_at: Option<Micros>, quiet: i32) -> Result<(), DbError> {
    let sql = "UPDATE observed_runs SET look_at = $2, quiet = $3 WHERE trace_key = $1";
    tx.execute(sql, args![trace_key, look_at, quiet]).await?;
    Ok(())
}

/// The code of the last step that failed.
///
/// # Errors
/// When the store can't be read.
pub async fn failed_step(tx: &mut Tx, trace_key: i64) -> Result<Option<String>, DbError> {
    let sql = "SELECT code FROM trace_records WHERE trace_key = $1 AND body = 17 AND status = 2 \
               ORDER BY position DESC LIMIT 1";
    let found: Option<(String,)> = tx.fetch_optional(sql, args![trace_key]).await?;
    Ok(found.map(|(code,)| code))
}
