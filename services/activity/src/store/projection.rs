//! Sums over the sets of facts, and the rows that they make.

use std::collections::{BTreeSet, HashMap};

use contracts_activity::v1::EvaluationOutcome;
use contracts_common::{
    common::v1::{RunPhase, RunStatus, TerminationReason},
    phase,
};
use runspine_activity_domain::{
    facts::SetKind,
    limits::Stand,
    projection::{Projection, SetSums, Standing, StepSums, combine, project},
};
use runspine_db::{Args, AssertSqlSafe, DbError, Dialect, FromRow, Tuples, Tx, args};
use runspine_types::Micros;

use crate::store::row::ProjectionRow;

const SUM_STEPS: &str = "SELECT attempt_key, \
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
    FROM step_facts s WHERE attempt_key IN (SELECT column1 FROM {list} AS w) GROUP BY attempt_key";

runspine_db::row! {
    struct StepSumsRow {
        attempt_key: i64,
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

const SUM_SETS: &str = "SELECT attempt_key, kind, COUNT(*), CAST(SUM(v1) AS BIGINT), CAST(SUM(v2) AS BIGINT), \
    CAST(SUM(v3) AS BIGINT), CAST(SUM(CASE WHEN v1 = 1 AND v2 = 0 THEN 1 ELSE 0 END) AS BIGINT), MAX(body) \
    FROM fact_members WHERE attempt_key IN (SELECT column1 FROM {list} AS w) GROUP BY attempt_key, kind";

runspine_db::row! {
    struct StandingRow {
        run_key: i64,
        attempt_key: i64,
        phase: i32,
        status: i32,
        termination_reason: i32,
        stale_since: Option<Micros>,
    }
}

/// Computes the projection rows of runs and of their attempts again, and says how many attempts there are and how many
/// of their rows differed from what was stored.
pub(crate) async fn refresh(tx: &mut Tx, tenant: &str, runs: &BTreeSet<i64>) -> Result<(u64, u64), DbError> {
    if tx.dialect() == Dialect::Postgres {
        // Another replica that counts facts of these runs must see these, or be seen.
        let sql = "SELECT run_key FROM runs WHERE run_key IN (SELECT column1 FROM {list} AS w) \
                   ORDER BY run_key FOR UPDATE";
        let _: Vec<(i64,)> = of_keys(tx, sql, runs.iter().copied()).await?;
    }
    let sql = "SELECT a.run_key, a.attempt_key, a.phase, a.status, a.termination_reason, l.stale_since \
               FROM run_attempts a JOIN leases l ON l.attempt_key = a.attempt_key \
               WHERE a.run_key IN (SELECT column1 FROM {list} AS w) ORDER BY a.run_key, a.attempt";
    let attempts: Vec<StandingRow> = of_keys(tx, sql, runs.iter().copied()).await?;
    let mut sums = sums(tx, &attempts).await?;
    let (mut rows, mut of_run) = (Vec::with_capacity(attempts.len()), HashMap::<i64, Vec<Projection>>::new());
    for attempt in &attempts {
        let Sums { steps, sets, limits } = sums.remove(&attempt.attempt_key).unwrap_or_default();
        let set = |kind: SetKind| sets.get(&(kind as i64)).cloned().unwrap_or_default();
        let projection = project(steps, set, &limits, standing(attempt));
        rows.push((attempt.attempt_key, attempt.run_key, ProjectionRow::from(&projection)));
        of_run.entry(attempt.run_key).or_default().push(projection);
    }
    let (count, differing) = (rows.len() as u64, save(tx, "attempt", tenant, rows).await?);
    let incidents = incidents(tx, runs).await?;
    let combined = runs.iter().filter_map(|key| {
        let incidents = incidents.get(key).copied().unwrap_or(0);
        Some((*key, *key, ProjectionRow::from(&combine(of_run.get(key)?, incidents)?)))
    });
    save(tx, "run", tenant, combined.collect()).await?;
    Ok((count, differing))
}

/// [`refresh`] of one run.
pub(crate) async fn refresh_run(tx: &mut Tx, tenant: &str, run_key: i64) -> Result<(), DbError> {
    refresh(tx, tenant, &BTreeSet::from([run_key])).await.map(|_| ())
}

/// Runs `sql`, which names its keys as `{list}`, for all `keys`.
async fn of_keys<R: FromRow>(
    tx: &mut Tx,
    sql: &str,
    keys: impl Iterator<Item = i64>,
) -> Result<Vec<R>, DbError> {
    let mut tuples = Tuples::new(1);
    keys.for_each(|key| tuples.push(args![key]));
    let mut rows = Vec::new();
    for (list, args) in tuples.parts(tx.dialect()) {
        rows.extend(tx.fetch_all(AssertSqlSafe(sql.replace("{list}", &list)), args).await?);
    }
    Ok(rows)
}

/// Incidents that are linked to runs and not voided.
async fn incidents(tx: &mut Tx, runs: &BTreeSet<i64>) -> Result<HashMap<i64, i64>, DbError> {
    let kind = SetKind::Incident as i64;
    let sql = format!(
        "SELECT run_key, COUNT(DISTINCT member) FROM fact_members WHERE run_key IN (SELECT column1 FROM {{list}} AS w) \
         AND kind = {kind} AND v1 = 1 AND v2 = 0 GROUP BY run_key"
    );
    let rows: Vec<(i64, i64)> = of_keys(tx, &sql, runs.iter().copied()).await?;
    Ok(rows.into_iter().collect())
}

/// Attempt, set, members, their three sums, those with v1 and without v2, text.
type SetRow = (i64, i64, i64, i64, i64, i64, i64, String);

/// What is known of an attempt: sums over its steps and over each set, and how it stands with each limit.
#[derive(Default)]
struct Sums {
    steps: StepSums,
    sets: HashMap<i64, SetSums>,
    limits: Vec<Stand>,
}

/// Attempt, place, limit, outcome, how near.
type StandRow = (i64, i64, String, i32, Option<u32>);

const STANDS: &str = "SELECT attempt_key, limit_key, limit_id, evaluation_outcome, proximity_permille \
    FROM run_limits WHERE attempt_key IN (SELECT column1 FROM {list} AS w)";

async fn sums(tx: &mut Tx, attempts: &[StandingRow]) -> Result<HashMap<i64, Sums>, DbError> {
    let keys = || attempts.iter().map(|a| a.attempt_key);
    let mut sums: HashMap<i64, Sums> = HashMap::new();
    for s in of_keys::<StepSumsRow>(tx, SUM_STEPS, keys()).await? {
        sums.entry(s.attempt_key).or_default().steps = StepSums {
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
    }
    let sets: Vec<SetRow> = of_keys(tx, SUM_SETS, keys()).await?;
    for (attempt_key, kind, count, a, b, c, net, text) in sets {
        let mut set = SetSums { count, sums: [a, b, c], net, text, first: String::new() };
        if kind == SetKind::Violation as i64 {
            (set.text, set.first) = first_violation(tx, attempt_key).await?;
        }
        sums.entry(attempt_key).or_default().sets.insert(kind, set);
    }
    let stands: Vec<StandRow> = of_keys(tx, STANDS, keys()).await?;
    for (attempt_key, key, limit_id, outcome, proximity_permille) in stands {
        let outcome = EvaluationOutcome::try_from(outcome).unwrap_or_default();
        let stand = Stand { key, limit_id, outcome, proximity_permille };
        sums.entry(attempt_key).or_default().limits.push(stand);
    }
    Ok(sums)
}

/// The rule and the id of the first violation, not of the greatest name.
async fn first_violation(tx: &mut Tx, attempt_key: i64) -> Result<(String, String), DbError> {
    let sql = "SELECT body, member FROM fact_members WHERE attempt_key = $1 AND kind = $2 \
               ORDER BY occurred_at, fact_id LIMIT 1";
    tx.fetch_one(sql, args![attempt_key, SetKind::Violation as i64]).await
}

fn standing(row: &StandingRow) -> Standing {
    let ended = RunPhase::try_from(row.phase).is_ok_and(phase::is_terminal);
    let pair =
        RunStatus::try_from(row.status).ok().zip(TerminationReason::try_from(row.termination_reason).ok());
    Standing { ended: pair.filter(|_| ended), stale: row.stale_since.is_some() }
}

/// A projection row as stored, with its key.
struct Stored {
    key: i64,
    row: ProjectionRow,
}

impl FromRow for Stored {
    fn from_row(row: &runspine_db::Row) -> Result<Self, DbError> {
        Ok(Self { key: row.get("row_key")?, row: ProjectionRow::from_row(row)? })
    }
}

/// Writes the rows (key, run, row) that are not there as they are; says for how many another one was there before.
async fn save(
    tx: &mut Tx,
    scope: &str,
    tenant: &str,
    rows: Vec<(i64, i64, ProjectionRow)>,
) -> Result<u64, DbError> {
    let sql = format!(
        "SELECT {scope}_key AS row_key, {} FROM {scope}_projection \
         WHERE {scope}_key IN (SELECT column1 FROM {{list}} AS w)",
        ProjectionRow::COLUMNS
    );
    let stored: Vec<Stored> = of_keys(tx, &sql, rows.iter().map(|(key, ..)| *key)).await?;
    let stored: HashMap<i64, ProjectionRow> = stored.into_iter().map(|s| (s.key, s.row)).collect();
    let changed = rows.into_iter().filter(|(key, _, row)| stored.get(key) != Some(row));
    let mut differing = 0;
    let values: Vec<Args> = changed
        .map(|(key, run_key, row)| {
            differing += u64::from(stored.contains_key(&key));
            let mut values = args![key, run_key, tenant];
            values.extend(row.values());
            values
        })
        .collect();
    let key_column = format!("{scope}_key");
    let columns: Vec<&str> = ProjectionRow::COLUMNS.split(", ").collect();
    let updates: Vec<String> = columns.iter().map(|c| format!("{c} = excluded.{c}")).collect();
    let on_conflict = format!("ON CONFLICT ({key_column}) DO UPDATE SET {}", updates.join(", "));
    let mut names = vec![key_column.as_str(), "run_ref", "tenant_id"];
    names.extend(columns);
    tx.insert_rows(&format!("{scope}_projection"), &names, values, &on_conflict).await?;
    Ok(differing)
}

impl ProjectionRow {
    fn values(self) -> Args {
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
            self.violation_ref,
            self.limits_evaluated,
            self.worst_limit,
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
            violation_ref: p.violation_ref.clone(),
            limits_evaluated: p.limits_evaluated,
            worst_limit: p.worst_limit,
        }
    }
}
