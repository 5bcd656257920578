//! Sums over the sets of facts, and the rows that they make.

use std::collections::HashMap;

use contracts_common::{
    common::v1::{RunPhase, RunStatus, TerminationReason},
    phase,
};
use runspine_activity_domain::{
    facts::SetKind,
    projection::{Projection, SetSums, Standing, StepSums, combine, project},
};
use runspine_db::{AssertSqlSafe, DbError, Dialect, Tx, args};
use runspine_types::Micros;

use crate::store::row::ProjectionRow;

const SUM_STEPS: &str = "SELECT \
    CAST(COALESCE(SUM(recorded), 0) AS BIGINT) AS steps, \
    CAST(COALESCE(SUM(CASE WHEN recorded = 1 THEN COALESCE(corrected_input_tokens, input_tokens) ELSE 0 END), 0) AS BIGINT) AS input_tokens, \
    CAST(COALESCE(SUM(CASE WHEN recorded = 1 THEN COALESCE(corrected_output_tokens, output_tokens) ELSE 0 END), 0) AS BIGINT) AS output_tokens, \
    CAST(COALESCE(SUM(CASE WHEN recorded = 1 THEN COALESCE(corrected_cost_microusd, cost_microusd) ELSE 0 END), 0) AS BIGINT) AS cost, \
    CAST(COALESCE(SUM(CASE WHEN retry_count > 0 THEN 1 ELSE 0 END), 0) AS BIGINT) AS retries, \
    CAST(COALESCE(SUM(CASE WHEN outcome = 5 THEN 1 ELSE 0 END), 0) AS BIGINT) AS ambiguous, \
    CAST(COALESCE(SUM(CASE WHEN outcome = 5 AND NOT EXISTS (SELECT 1 FROM step_facts o \
        WHERE o.attempt_key = s.attempt_key AND o.step_index = s.step_index AND o.position > s.position \
        AND o.outcome IN (1, 2)) THEN 1 ELSE 0 END), 0) AS BIGINT) AS unresolved, \
    CAST(COALESCE(SUM(unauthorized), 0) AS BIGINT) AS unauthorized, \
    CAST(COALESCE(SUM(despite_denial), 0) AS BIGINT) AS despite_denial, \
    CAST(COALESCE(SUM(gap), 0) AS BIGINT) AS gaps, \
    COALESCE(MAX(CASE WHEN recorded = 1 THEN occurred_at ELSE 0 END), 0) AS last_at \
    FROM step_facts s WHERE attempt_key = $1";

runspine_db::row! {
    struct StepSumsRow {
        steps: i64,
        input_tokens: i64,
        output_tokens: i64,
        cost: i64,
        retries: i64,
        ambiguous: i64,
        unresolved: i64,
        unauthorized: i64,
        despite_denial: i64,
        gaps: i64,
        last_at: i64,
    }
}

const SUM_SETS: &str = "SELECT kind, COUNT(*), CAST(SUM(v1) AS BIGINT), CAST(SUM(v2) AS BIGINT), \
    CAST(SUM(v3) AS BIGINT), CAST(SUM(CASE WHEN v1 = 1 AND v2 = 0 THEN 1 ELSE 0 END) AS BIGINT), MAX(body) \
    FROM fact_members WHERE attempt_key = $1 GROUP BY kind";

runspine_db::row! {
    struct StandingRow {
        attempt_key: i64,
        phase: i32,
        status: i32,
        termination_reason: i32,
        stale_since: Option<Micros>,
    }
}

/// Computes the projection rows of a run and of its attempts again, and says how many differed from what was stored.
pub(crate) async fn refresh(tx: &mut Tx, run_key: i64, tenant: &str) -> Result<(u64, u64), DbError> {
    if tx.dialect() == Dialect::Postgres {
        // Another replica that counts facts of this run must see these, or be seen.
        tx.fetch_optional::<(i64,)>("SELECT run_key FROM runs WHERE run_key = $1 FOR UPDATE", args![run_key])
            .await?;
    }
    let sql = "SELECT a.attempt_key, a.phase, a.status, a.termination_reason, l.stale_since FROM run_attempts a \
               JOIN leases l ON l.attempt_key = a.attempt_key WHERE a.run_key = $1 ORDER BY a.attempt";
    let attempts: Vec<StandingRow> = tx.fetch_all(sql, args![run_key]).await?;
    let (mut projections, mut differing) = (Vec::with_capacity(attempts.len()), 0);
    for attempt in &attempts {
        let projection = of_attempt(tx, attempt).await?;
        differing += u64::from(save(tx, "attempt", attempt.attempt_key, run_key, tenant, &projection).await?);
        projections.push(projection);
    }
    let sql = "SELECT COUNT(DISTINCT member) FROM fact_members WHERE run_key = $1 AND kind = $2 AND v1 = 1 AND v2 = 0";
    let (incidents,): (i64,) = tx.fetch_one(sql, args![run_key, SetKind::Incident as i64]).await?;
    if let Some(run) = combine(&projections, incidents) {
        save(tx, "run", run_key, run_key, tenant, &run).await?;
    }
    Ok((attempts.len() as u64, differing))
}

async fn of_attempt(tx: &mut Tx, attempt: &StandingRow) -> Result<Projection, DbError> {
    let s: StepSumsRow = tx.fetch_one(SUM_STEPS, args![attempt.attempt_key]).await?;
    let steps = StepSums {
        steps: s.steps,
        input_tokens: s.input_tokens,
        output_tokens: s.output_tokens,
        cost_microusd: s.cost,
        retries: s.retries,
        ambiguous: s.ambiguous,
        unresolved: s.unresolved,
        unauthorized: s.unauthorized,
        despite_denial: s.despite_denial,
        gaps: s.gaps,
        last_at: s.last_at,
    };
    let rows: Vec<(i64, i64, i64, i64, i64, i64, String)> =
        tx.fetch_all(SUM_SETS, args![attempt.attempt_key]).await?;
    let mut sets: HashMap<i64, SetSums> = rows
        .into_iter()
        .map(|(kind, count, a, b, c, net, text)| (kind, SetSums { count, sums: [a, b, c], net, text }))
        .collect();
    if let Some(violations) = sets.get_mut(&(SetKind::Violation as i64)) {
        // The rule of the first violation, not of the greatest name.
        let sql = "SELECT body FROM fact_members WHERE attempt_key = $1 AND kind = $2 \
                   ORDER BY occurred_at, fact_id LIMIT 1";
        let args = args![attempt.attempt_key, SetKind::Violation as i64];
        violations.text = tx.fetch_one::<(String,)>(sql, args).await?.0;
    }
    Ok(project(steps, |kind| sets.get(&(kind as i64)).cloned().unwrap_or_default(), standing(attempt)))
}

fn standing(row: &StandingRow) -> Standing {
    let ended = RunPhase::try_from(row.phase).is_ok_and(phase::is_terminal);
    let pair =
        RunStatus::try_from(row.status).ok().zip(TerminationReason::try_from(row.termination_reason).ok());
    Standing { ended: pair.filter(|_| ended), stale: row.stale_since.is_some() }
}

/// Writes one row; says whether another one was there before.
async fn save(
    tx: &mut Tx,
    scope: &str,
    key: i64,
    run_key: i64,
    tenant: &str,
    p: &Projection,
) -> Result<bool, DbError> {
    let row = ProjectionRow::from(p);
    let sql = format!("SELECT {} FROM {scope}_projection WHERE {scope}_key = $1", ProjectionRow::COLUMNS);
    let stored: Option<ProjectionRow> = tx.fetch_optional(AssertSqlSafe(sql), args![key]).await?;
    if stored.as_ref() == Some(&row) {
        return Ok(false);
    }
    let columns: Vec<&str> = ProjectionRow::COLUMNS.split(", ").collect();
    let updates: Vec<String> = columns.iter().map(|c| format!("{c} = excluded.{c}")).collect();
    let on_conflict = format!("ON CONFLICT ({scope}_key) DO UPDATE SET {}", updates.join(", "));
    let key_column = format!("{scope}_key");
    let mut names = vec![key_column.as_str(), "run_ref", "tenant_id"];
    names.extend(columns);
    let mut values = args![key, run_key, tenant];
    values.extend(row.values());
    tx.insert_rows(&format!("{scope}_projection"), &names, vec![values], &on_conflict).await?;
    Ok(stored.is_some())
}

impl ProjectionRow {
    fn values(self) -> runspine_db::Args {
        args![
            self.step_count,
            self.denied_steps,
            self.retry_count,
            self.ambiguous_count,
            self.unresolved_count,
            self.unauthorized_steps,
            self.despite_denial,
            self.gaps,
            self.input_tokens,
            self.output_tokens,
            self.estimated_cost_microusd,
            self.settled_cost_microusd,
            self.incident_count,
            self.violation_count,
            self.fact_policy_id,
            self.policy_draft_count,
            self.integrity_status,
            self.audit_status,
            self.fact_degraded,
            self.evidence_failures,
            self.evidence_grade,
            self.required_missing,
            self.observability_status,
            self.observability_error,
            self.risk_level,
            self.last_activity_at,
        ]
    }
}

impl From<&Projection> for ProjectionRow {
    fn from(p: &Projection) -> Self {
        Self {
            step_count: p.steps.steps,
            denied_steps: p.denied_steps,
            retry_count: p.steps.retries,
            ambiguous_count: p.steps.ambiguous,
            unresolved_count: p.steps.unresolved,
            unauthorized_steps: p.steps.unauthorized,
            despite_denial: p.steps.despite_denial,
            gaps: p.steps.gaps,
            input_tokens: p.steps.input_tokens,
            output_tokens: p.steps.output_tokens,
            estimated_cost_microusd: p.steps.cost_microusd,
            settled_cost_microusd: p.settled_cost_microusd,
            incident_count: p.incident_count,
            violation_count: p.violation_count,
            fact_policy_id: p.violation_policy_id.clone(),
            policy_draft_count: p.policy_draft_count,
            integrity_status: p.integrity as i64,
            audit_status: p.audit as i64,
            fact_degraded: p.degraded,
            evidence_failures: p.evidence_failures,
            evidence_grade: p.grade.map_or(0, |grade| grade as i64),
            required_missing: p.required_missing,
            observability_status: p.observability as i64,
            observability_error: p.observability_error.clone(),
            risk_level: p.risk as i64,
            last_activity_at: (p.steps.last_at > 0).then_some(Micros(p.steps.last_at)),
        }
    }
}
