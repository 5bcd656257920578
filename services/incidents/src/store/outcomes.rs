//! Rows of `run_outcomes` and `incident_reports`: what was answered to each report, for ever.

use runspine_db::{AssertSqlSafe, DbError, Snapshot, Tx, args, row};
use runspine_types::{Digest, Micros};

row! {
    /// What became of one attempt.
    #[derive(Debug, Clone)]
    pub struct OutcomeRow {
        /// The attempt.
        pub attempt: u32,
        /// How it ended.
        pub status: i32,
        /// What the report led to.
        pub disposition: i32,
        /// The incident; empty: none.
        pub incident_id: String,
        /// The occurrence; empty: none.
        pub occurrence_id: String,
        /// The prevention record; empty: none.
        pub prevention_id: String,
        /// The structured cause; empty: it succeeded.
        pub cause_code: String,
        /// Severity of the incident after the report.
        pub severity: Option<i32>,
        /// Category of the report.
        pub category: Option<i32>,
        /// Digest of the request.
        pub request_digest: Digest,
        /// When it was reported.
        pub recorded_at: Micros,
    }
}

row! {
    /// What became of one fact.
    #[derive(Debug, Clone)]
    pub struct ReportRow {
        /// What the report led to.
        pub disposition: i32,
        /// The incident; empty: none.
        pub incident_id: String,
        /// The occurrence; empty: none.
        pub occurrence_id: String,
        /// The prevention record; empty: none.
        pub prevention_id: String,
        /// Severity of the incident after the report.
        pub severity: i32,
        /// Digest of the request.
        pub request_digest: Digest,
        /// When it was reported.
        pub recorded_at: Micros,
    }
}

/// What was answered for an attempt.
pub async fn find(
    tx: &mut Tx,
    tenant: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Option<OutcomeRow>, DbError> {
    let tail = "FROM run_outcomes WHERE tenant_id = $1 AND run_id = $2 AND attempt = $3";
    let sql = AssertSqlSafe(format!("SELECT {} {tail}", OutcomeRow::COLUMNS));
    tx.fetch_optional(sql, args![tenant, run_id, attempt]).await
}

/// What was answered for the attempts of a run.
pub async fn of_run(read: &mut Snapshot, tenant: &str, run_id: &str) -> Result<Vec<OutcomeRow>, DbError> {
    let tail = "FROM run_outcomes WHERE tenant_id = $1 AND run_id = $2 ORDER BY attempt LIMIT 1000";
    let sql = AssertSqlSafe(format!("SELECT {} {tail}", OutcomeRow::COLUMNS));
    read.fetch_all(sql, args![tenant, run_id]).await
}

/// Keeps what is answered for an attempt; `false` when another replica answered first.
pub async fn insert(tx: &mut Tx, tenant: &str, run_id: &str, row: &OutcomeRow) -> Result<bool, DbError> {
    let sql = AssertSqlSafe(format!(
        "INSERT INTO run_outcomes (tenant_id, run_id, {}) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING",
        OutcomeRow::COLUMNS
    ));
    let values = args![
        tenant,
        run_id,
        row.attempt,
        row.status,
        row.disposition,
        &row.incident_id,
        &row.occurrence_id,
        &row.prevention_id,
        &row.cause_code,
        row.severity,
        row.category,
        row.request_digest,
        row.recorded_at,
    ];
    Ok(tx.execute(sql, values).await? == 1)
}

/// What was answered for a fact.
pub async fn find_report(tx: &mut Tx, tenant: &str, fact_id: &str) -> Result<Option<ReportRow>, DbError> {
    let tail = "FROM incident_reports WHERE tenant_id = $1 AND fact_id = $2";
    let sql = AssertSqlSafe(format!("SELECT {} {tail}", ReportRow::COLUMNS));
    tx.fetch_optional(sql, args![tenant, fact_id]).await
}

/// Keeps what is answered for a fact; `false` when another replica answered first.
pub async fn insert_report(
    tx: &mut Tx,
    tenant: &str,
    fact_id: &str,
    row: &ReportRow,
) -> Result<bool, DbError> {
    let sql = AssertSqlSafe(format!(
        "INSERT INTO incident_reports (tenant_id, fact_id, {}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT DO NOTHING",
        ReportRow::COLUMNS
    ));
    let values = args![
        tenant,
        fact_id,
        row.disposition,
        &row.incident_id,
        &row.occurrence_id,
        &row.prevention_id,
        row.severity,
        row.request_digest,
        row.recorded_at,
    ];
    Ok(tx.execute(sql, values).await? == 1)
}
