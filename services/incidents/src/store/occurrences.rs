//! Rows of `incident_occurrences` and `occurrence_voids`.

use runspine_db::{AssertSqlSafe, DbError, Snapshot, Tx, args, row};
use runspine_incidents_domain::outcome::Occurrence;
use runspine_types::Micros;

use crate::app::Act;

row! {
    /// An occurrence as stored, with whether it was voided.
    #[derive(Debug, Clone)]
    pub struct OccurrenceRow {
        /// Its id.
        pub id: String,
        /// Its incident.
        pub incident_id: String,
        /// The run; empty: none.
        pub run_id: String,
        /// The attempt; 0: none.
        pub attempt: u32,
        /// The structured cause.
        pub cause_code: String,
        /// The fact that reported it; empty: the outcome of the attempt.
        pub fact_id: String,
        /// The step at which it turned bad.
        pub step_index: Option<u32>,
        /// The tool in hand.
        pub tool_name: String,
        /// When it happened.
        pub occurred_at: Micros,
        /// When it was reported.
        pub recorded_at: Micros,
        /// What the attempt cost.
        pub cost_microusd: i64,
        /// Whether the hourly cap sent it to the overflow incident.
        pub overflow: bool,
        /// Whether it was voided.
        pub voided: bool,
    }
}

/// The occurrence columns, with the void looked up.
const SELECT: &str = "SELECT o.id, o.incident_id, o.run_id, o.attempt, o.cause_code, o.fact_id, o.step_index, \
    o.tool_name, o.occurred_at, o.recorded_at, o.cost_microusd, o.overflow, \
    CASE WHEN EXISTS (SELECT 1 FROM occurrence_voids v WHERE v.tenant_id = o.tenant_id AND v.run_id = o.run_id \
    AND v.attempt = o.attempt AND v.occurrence_id = o.id) THEN 1 ELSE 0 END AS voided FROM incident_occurrences o";

impl From<OccurrenceRow> for Occurrence {
    fn from(row: OccurrenceRow) -> Self {
        Self {
            id: row.id,
            run_id: row.run_id,
            attempt: row.attempt,
            cause_code: row.cause_code,
            fact_id: row.fact_id,
            step_index: row.step_index,
            tool_name: row.tool_name,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
            cost_microusd: row.cost_microusd,
            overflow: row.overflow,
        }
    }
}

/// Adds an occurrence.
pub async fn insert(tx: &mut Tx, tenant: &str, incident_id: &str, o: &Occurrence) -> Result<(), DbError> {
    let sql = "INSERT INTO incident_occurrences (id, tenant_id, incident_id, run_id, attempt, cause_code, fact_id, \
               step_index, tool_name, occurred_at, recorded_at, cost_microusd, overflow) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let row = args![
        &o.id,
        tenant,
        incident_id,
        &o.run_id,
        o.attempt,
        &o.cause_code,
        &o.fact_id,
        o.step_index,
        &o.tool_name,
        o.occurred_at,
        o.recorded_at,
        o.cost_microusd,
        o.overflow,
    ];
    tx.execute(sql, row).await?;
    Ok(())
}

/// The live occurrences of an attempt, with this cause or in this incident.
pub async fn live_of_attempt(
    tx: &mut Tx,
    tenant: &str,
    (run_id, attempt): (&str, u32),
    cause: &str,
    incident_id: &str,
) -> Result<Vec<OccurrenceRow>, DbError> {
    let sql = format!(
        "{SELECT} WHERE o.tenant_id = $1 AND o.run_id = $2 AND o.attempt = $3 \
         AND (o.cause_code = $4 OR o.incident_id = $5) ORDER BY o.id"
    );
    let rows =
        tx.fetch_all::<OccurrenceRow>(AssertSqlSafe(sql), args![tenant, run_id, attempt, cause, incident_id]);
    Ok(rows.await?.into_iter().filter(|row| !row.voided).collect())
}

/// The occurrences of a run, oldest first.
pub async fn of_run(read: &mut Snapshot, tenant: &str, run_id: &str) -> Result<Vec<OccurrenceRow>, DbError> {
    let sql =
        format!("{SELECT} WHERE o.tenant_id = $1 AND o.run_id = $2 ORDER BY o.attempt, o.id LIMIT 1000");
    read.fetch_all(AssertSqlSafe(sql), args![tenant, run_id]).await
}

/// The occurrences of an incident, oldest first; voided ones too.
pub async fn of_incident(
    tx: &mut Tx,
    tenant: &str,
    incident_id: &str,
    limit: i64,
) -> Result<Vec<OccurrenceRow>, DbError> {
    let sql = format!("{SELECT} WHERE o.tenant_id = $1 AND o.incident_id = $2 ORDER BY o.id LIMIT $3");
    tx.fetch_all(AssertSqlSafe(sql), args![tenant, incident_id, limit]).await
}

/// The runs of an incident's live occurrences, oldest first, each once.
pub async fn runs_of_incident(
    read: &mut Snapshot,
    tenant: &str,
    incident_id: &str,
) -> Result<Vec<String>, DbError> {
    let sql = "SELECT o.run_id, MIN(o.recorded_at) AS first_at, MIN(o.id) AS first_id FROM incident_occurrences o \
               WHERE o.tenant_id = $1 AND o.incident_id = $2 AND o.run_id <> '' AND NOT EXISTS \
               (SELECT 1 FROM occurrence_voids v WHERE v.tenant_id = o.tenant_id AND v.run_id = o.run_id \
               AND v.attempt = o.attempt AND v.occurrence_id = o.id) \
               GROUP BY o.run_id ORDER BY first_at, first_id LIMIT 1000";
    let rows = read.fetch_all::<(String, i64, String)>(sql, args![tenant, incident_id]).await?;
    Ok(rows.into_iter().map(|(run_id, ..)| run_id).collect())
}

/// One void, to be stored.
#[derive(Debug, Clone)]
pub struct VoidRow<'a> {
    /// Its id.
    pub id: String,
    /// The run.
    pub run_id: &'a str,
    /// The attempt.
    pub attempt: u32,
    /// The cause that was named.
    pub cause_code: &'a str,
    /// The incident that was named or found.
    pub incident_id: &'a str,
    /// The occurrence; empty: there was none.
    pub occurrence_id: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// Adds a void; the same one again changes nothing.
pub async fn insert_void(tx: &mut Tx, act: &Act, row: VoidRow<'_>) -> Result<(), DbError> {
    let sql = "INSERT INTO occurrence_voids (id, tenant_id, run_id, attempt, cause_code, incident_id, occurrence_id, \
               reason, actor_type, actor_id, voided_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
               ON CONFLICT DO NOTHING";
    let values = args![
        row.id,
        &act.tenant,
        row.run_id,
        row.attempt,
        row.cause_code,
        row.incident_id,
        row.occurrence_id,
        row.reason,
        act.actor_type,
        &act.actor_id,
        act.now,
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

/// Whether the attempt was voided before anything was reported of it.
pub async fn voided_ahead(tx: &mut Tx, tenant: &str, run_id: &str, attempt: u32) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM occurrence_voids WHERE tenant_id = $1 AND run_id = $2 AND attempt = $3 \
               AND occurrence_id = '' LIMIT 1";
    Ok(tx.fetch_optional::<(i64,)>(sql, args![tenant, run_id, attempt]).await?.is_some())
}
