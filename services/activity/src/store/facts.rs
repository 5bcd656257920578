//! Facts as rows of their sets.

use std::collections::{HashMap, HashSet};

use contracts_activity::v1::{Fact, LimitStanding, StepFact, UsageFact};
use prost::Message as _;
use runspine_activity_domain::facts::{Member, Row};
use runspine_db::{Args, AssertSqlSafe, DbError, Tuples, Tx, args};
use runspine_rpc::optional_micros;
use runspine_types::Micros;

/// Where a fact belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) run_key: i64,
    pub(crate) attempt_key: i64,
}

/// The attempts of a tenant, by run and number, that facts are about. Those that are not known are left out.
pub(crate) async fn places<'f>(
    tx: &mut Tx,
    tenant: &str,
    facts: impl Iterator<Item = &'f Fact>,
) -> Result<HashMap<(String, u32), Place>, DbError> {
    let mut wanted = Tuples::new(3);
    for (run_id, attempt) in facts.map(|f| (&f.run_id, f.attempt)).collect::<HashSet<_>>() {
        wanted.push(args![tenant, run_id, attempt]);
    }
    let mut places = HashMap::new();
    for (list, args) in wanted.parts(tx.dialect()) {
        let sql = format!(
            "SELECT r.run_id, a.attempt, r.run_key, a.attempt_key FROM {list} AS w \
             CROSS JOIN runs r JOIN run_attempts a ON a.run_key = r.run_key AND a.attempt = w.column3 \
             WHERE r.tenant_id = w.column1 AND r.run_id = w.column2"
        );
        let rows: Vec<(String, u32, i64, i64)> = tx.fetch_all(AssertSqlSafe(sql), args).await?;
        places.extend(
            rows.into_iter().map(|(run, n, run_key, attempt_key)| ((run, n), Place { run_key, attempt_key })),
        );
    }
    Ok(places)
}

/// Notes that facts count, and gives the ids of those that did not before.
pub(crate) async fn mark<'f>(
    tx: &mut Tx,
    tenant: &str,
    facts: impl Iterator<Item = &'f Fact>,
    now: Micros,
) -> Result<HashSet<String>, DbError> {
    let mut seen = HashSet::new();
    let rows: Vec<Args> = facts
        .filter(|fact| seen.insert(&fact.fact_id))
        .map(|fact| args![tenant, &fact.fact_id, now])
        .collect();
    let columns = ["tenant_id", "fact_id", "applied_at"];
    let once = "ON CONFLICT (tenant_id, fact_id) DO NOTHING";
    let fresh: Vec<(String,)> =
        tx.insert_rows_returning("applied_facts", &columns, rows, once, "fact_id").await?;
    Ok(fresh.into_iter().map(|(id,)| id).collect())
}

/// Keeps a fact of an attempt that is not known yet.
pub(crate) async fn park(tx: &mut Tx, tenant: &str, fact: &Fact, now: Micros) -> Result<(), DbError> {
    let sql = "INSERT INTO parked_facts (tenant_id, run_id, attempt, fact_id, fact, parked_at) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, fact_id) DO NOTHING";
    let args = args![tenant, &fact.run_id, fact.attempt, &fact.fact_id, fact.encode_to_vec(), now];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Takes the facts that wait for an attempt.
pub(crate) async fn unpark(
    tx: &mut Tx,
    tenant: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Vec<bytes::Bytes>, DbError> {
    let sql = "DELETE FROM parked_facts WHERE tenant_id = $1 AND run_id = $2 AND attempt = $3 RETURNING fact";
    let rows: Vec<(bytes::Bytes,)> = tx.fetch_all(sql, args![tenant, run_id, attempt]).await?;
    Ok(rows.into_iter().map(|(fact,)| fact).collect())
}

/// Rows for one statement each round: no key is twice in a round, because one statement can't change a row twice.
/// Rows of one key keep their order.
#[derive(Default)]
struct Rounds<K> {
    seen: HashMap<K, usize>,
    rounds: Vec<Vec<Args>>,
}

impl<K: std::hash::Hash + Eq> Rounds<K> {
    fn push(&mut self, key: K, row: Args) {
        let times = self.seen.entry(key).or_default();
        if self.rounds.len() == *times {
            self.rounds.push(Vec::new());
        }
        self.rounds[*times].push(row);
        *times += 1;
    }

    async fn write(
        self,
        tx: &mut Tx,
        table: &str,
        columns: &[&str],
        on_conflict: &str,
    ) -> Result<(), DbError> {
        for rows in self.rounds {
            tx.insert_rows(table, columns, rows, on_conflict).await?;
        }
        Ok(())
    }
}

/// Facts on their way into their sets.
#[derive(Default)]
pub(crate) struct Gathered {
    steps: Rounds<(i64, u64)>,
    corrections: Rounds<(i64, u64)>,
    latest: Rounds<(i64, i64, String)>,
    joined: Rounds<(i64, i64, String)>,
    limits: Rounds<(i64, String)>,
}

impl Gathered {
    /// Adds a fact.
    pub(crate) fn push(&mut self, place: Place, fact: &Fact, row: &Row) {
        match row {
            Row::Step(step) => {
                self.steps.push((place.attempt_key, step.position), step_row(place, fact, step))
            }
            Row::Usage(usage) => {
                self.corrections.push((place.attempt_key, usage.position), usage_row(place, fact, usage));
            }
            Row::Member(member) => {
                let rounds = if member.kind.is_latest() { &mut self.latest } else { &mut self.joined };
                let key = (place.attempt_key, member.kind as i64, member.id.clone());
                rounds.push(key, member_row(place, fact, member));
            }
            Row::Limit(standing, member) => {
                let key = (place.attempt_key, standing.limit_id.clone());
                self.limits.push(key, limit_row(place, fact, standing));
                let key = (place.attempt_key, member.kind as i64, member.id.clone());
                self.joined.push(key, member_row(place, fact, member));
            }
            Row::Nothing => {}
        }
    }

    /// Writes all of it. The result does not depend on the order in which facts came.
    pub(crate) async fn write(self, tx: &mut Tx) -> Result<(), DbError> {
        self.steps.write(tx, "step_facts", &STEP_COLUMNS, FIRST_STANDS).await?;
        self.corrections.write(tx, "step_facts", &USAGE_COLUMNS, LATEST_CORRECTS).await?;
        self.latest.write(tx, "fact_members", &MEMBER_COLUMNS, LATEST_STANDS).await?;
        self.limits.write(tx, "run_limits", &LIMIT_COLUMNS, LATEST_LIMIT).await?;
        self.joined.write(tx, "fact_members", &MEMBER_COLUMNS, MAXIMA_JOIN).await
    }
}

const MEMBER_COLUMNS: [&str; 11] = [
    "attempt_key",
    "run_key",
    "kind",
    "member",
    "v1",
    "v2",
    "v3",
    "body",
    "source_seq",
    "occurred_at",
    "fact_id",
];

fn member_row(place: Place, fact: &Fact, m: &Member) -> Args {
    let [v1, v2, v3] = m.values;
    args![
        place.attempt_key,
        place.run_key,
        m.kind as i64,
        &m.id,
        v1,
        v2,
        v3,
        &m.text,
        fact.source_seq,
        optional_micros(fact.occurred_at.as_ref()).unwrap_or_default(),
        &fact.fact_id,
    ]
}

/// For sets of which the latest member stands for all.
const LATEST_STANDS: &str = "ON CONFLICT (attempt_key, kind, member) DO UPDATE SET \
    v1 = excluded.v1, v2 = excluded.v2, v3 = excluded.v3, \
    body = excluded.body, source_seq = excluded.source_seq, occurred_at = excluded.occurred_at, \
    fact_id = excluded.fact_id WHERE excluded.source_seq > fact_members.source_seq \
    OR (excluded.source_seq = fact_members.source_seq AND excluded.fact_id > fact_members.fact_id)";

/// For the others: numbers are maxima, and the text is that of the earliest fact.
const MAXIMA_JOIN: &str = "ON CONFLICT (attempt_key, kind, member) DO UPDATE SET \
    v1 = CASE WHEN excluded.v1 > fact_members.v1 THEN excluded.v1 ELSE fact_members.v1 END, \
    v2 = CASE WHEN excluded.v2 > fact_members.v2 THEN excluded.v2 ELSE fact_members.v2 END, \
    v3 = CASE WHEN excluded.v3 > fact_members.v3 THEN excluded.v3 ELSE fact_members.v3 END, \
    body = CASE WHEN excluded.occurred_at < fact_members.occurred_at OR (excluded.occurred_at = \
        fact_members.occurred_at AND excluded.fact_id < fact_members.fact_id) THEN excluded.body \
        ELSE fact_members.body END, \
    fact_id = CASE WHEN excluded.occurred_at < fact_members.occurred_at OR (excluded.occurred_at = \
        fact_members.occurred_at AND excluded.fact_id < fact_members.fact_id) THEN excluded.fact_id \
        ELSE fact_members.fact_id END, \
    occurred_at = CASE WHEN excluded.occurred_at < fact_members.occurred_at THEN excluded.occurred_at \
        ELSE fact_members.occurred_at END";

const LIMIT_COLUMNS: [&str; 19] = [
    "attempt_key",
    "run_key",
    "limit_id",
    "policy_id",
    "policy_name",
    "policy_scope",
    "scope_id",
    "limit_type",
    "threshold_value",
    "threshold_unit",
    "threshold_source",
    "blocking",
    "actual_value",
    "evaluation_outcome",
    "proximity_permille",
    "rule_version",
    "source_seq",
    "evaluated_at",
    "fact_id",
];

/// The newest evaluation of a limit stands.
const LATEST_LIMIT: &str = "ON CONFLICT (attempt_key, limit_id) DO UPDATE SET \
    policy_id = excluded.policy_id, policy_name = excluded.policy_name, policy_scope = excluded.policy_scope, \
    scope_id = excluded.scope_id, limit_type = excluded.limit_type, threshold_value = excluded.threshold_value, \
    threshold_unit = excluded.threshold_unit, threshold_source = excluded.threshold_source, \
    blocking = excluded.blocking, actual_value = excluded.actual_value, \
    evaluation_outcome = excluded.evaluation_outcome, proximity_permille = excluded.proximity_permille, \
    rule_version = excluded.rule_version, source_seq = excluded.source_seq, evaluated_at = excluded.evaluated_at, \
    fact_id = excluded.fact_id WHERE excluded.source_seq > run_limits.source_seq \
    OR (excluded.source_seq = run_limits.source_seq AND excluded.fact_id > run_limits.fact_id)";

fn limit_row(place: Place, fact: &Fact, s: &LimitStanding) -> Args {
    args![
        place.attempt_key,
        place.run_key,
        &s.limit_id,
        &s.policy_id,
        &s.policy_name,
        s.policy_scope,
        &s.scope_id,
        s.limit_type,
        s.threshold_value,
        s.threshold_unit,
        s.threshold_source,
        s.blocking,
        s.actual_value,
        s.evaluation_outcome,
        s.proximity_permille,
        s.rule_version,
        fact.source_seq,
        optional_micros(fact.occurred_at.as_ref()).unwrap_or_default(),
        &fact.fact_id,
    ]
}

const STEP_COLUMNS: [&str; 21] = [
    "attempt_key",
    "position",
    "recorded",
    "step_index",
    "kind",
    "name",
    "tool",
    "model",
    "outcome",
    "retry_count",
    "input_tokens",
    "output_tokens",
    "cost_microusd",
    "duration_us",
    "unauthorized",
    "despite_denial",
    "gap",
    "parameters_digest",
    "occurred_at",
    "corrected_seq",
    "corrected_by",
];

/// A record of the trace never changes, so the first step at a position stands; a correction may have come before it.
const FIRST_STANDS: &str = "ON CONFLICT (attempt_key, position) DO UPDATE SET recorded = 1, \
    step_index = excluded.step_index, kind = excluded.kind, name = excluded.name, tool = excluded.tool, \
    model = excluded.model, outcome = excluded.outcome, retry_count = excluded.retry_count, \
    input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens, \
    cost_microusd = excluded.cost_microusd, duration_us = excluded.duration_us, \
    unauthorized = excluded.unauthorized, despite_denial = excluded.despite_denial, gap = excluded.gap, \
    parameters_digest = excluded.parameters_digest, occurred_at = excluded.occurred_at \
    WHERE step_facts.recorded = 0";

fn step_row(place: Place, fact: &Fact, s: &StepFact) -> Args {
    args![
        place.attempt_key,
        s.position,
        1_i64,
        s.step_index,
        s.kind,
        &s.name,
        &s.tool,
        &s.model,
        s.outcome,
        s.retry_count,
        s.input_tokens,
        s.output_tokens,
        s.cost_microusd,
        s.duration_us,
        s.unauthorized,
        s.despite_denial,
        s.gap,
        &s.parameters_digest,
        optional_micros(fact.occurred_at.as_ref()).unwrap_or_default(),
        0_i64,
        "",
    ]
}

const USAGE_COLUMNS: [&str; 24] = [
    "attempt_key",
    "position",
    "recorded",
    "step_index",
    "kind",
    "name",
    "tool",
    "model",
    "outcome",
    "retry_count",
    "input_tokens",
    "output_tokens",
    "cost_microusd",
    "duration_us",
    "unauthorized",
    "despite_denial",
    "gap",
    "parameters_digest",
    "occurred_at",
    "corrected_seq",
    "corrected_by",
    "corrected_input_tokens",
    "corrected_output_tokens",
    "corrected_cost_microusd",
];

/// Whether the step at a position is known already or not; the latest correction stands.
const LATEST_CORRECTS: &str = "ON CONFLICT (attempt_key, position) DO UPDATE SET \
    corrected_seq = excluded.corrected_seq, corrected_by = excluded.corrected_by, \
    corrected_input_tokens = excluded.corrected_input_tokens, \
    corrected_output_tokens = excluded.corrected_output_tokens, \
    corrected_cost_microusd = excluded.corrected_cost_microusd \
    WHERE excluded.corrected_seq > step_facts.corrected_seq OR (excluded.corrected_seq = \
    step_facts.corrected_seq AND excluded.corrected_by > step_facts.corrected_by)";

fn usage_row(place: Place, fact: &Fact, u: &UsageFact) -> Args {
    let mut row = args![place.attempt_key, u.position, 0_i64, 0_i64, 0_i64, "", "", ""];
    // Nothing of the step is known yet.
    row.extend((0..9).flat_map(|_| args![0_i64]));
    row.extend(args![
        bytes::Bytes::new(),
        0_i64,
        fact.source_seq,
        &fact.fact_id,
        u.input_tokens,
        u.output_tokens,
        u.cost_microusd,
    ]);
    row
}
