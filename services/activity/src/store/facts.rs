//! Facts as rows of their sets.

use contracts_activity::v1::{Fact, StepFact, UsageFact};
use prost::Message as _;
use runspine_activity_domain::facts::Member;
use runspine_db::{DbError, Tx, args};
use runspine_rpc::optional_micros;
use runspine_types::Micros;

/// Where a fact belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) run_key: i64,
    pub(crate) attempt_key: i64,
}

/// The attempt that a fact is about, if it is known.
pub(crate) async fn place(tx: &mut Tx, tenant: &str, fact: &Fact) -> Result<Option<Place>, DbError> {
    let sql = "SELECT r.run_key, a.attempt_key FROM runs r JOIN run_attempts a ON a.run_key = r.run_key \
               WHERE r.tenant_id = $1 AND r.run_id = $2 AND a.attempt = $3";
    let found: Option<(i64, i64)> = tx.fetch_optional(sql, args![tenant, &fact.run_id, fact.attempt]).await?;
    Ok(found.map(|(run_key, attempt_key)| Place { run_key, attempt_key }))
}

/// Notes that a fact counts; false: it did before.
pub(crate) async fn mark(tx: &mut Tx, tenant: &str, fact_id: &str, now: Micros) -> Result<bool, DbError> {
    let sql = "INSERT INTO applied_facts (tenant_id, fact_id, applied_at) VALUES ($1, $2, $3) \
               ON CONFLICT (tenant_id, fact_id) DO NOTHING";
    Ok(tx.execute(sql, args![tenant, fact_id, now]).await? == 1)
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

/// Joins a member to its set. The result does not depend on the order: numbers are maxima, and the text is that of the
/// earliest fact, or for sets of which the latest stands for all, everything is that of the latest.
pub(crate) async fn join(tx: &mut Tx, place: Place, fact: &Fact, m: &Member) -> Result<(), DbError> {
    let sql = if m.kind.is_latest() { LATEST } else { UNION };
    let [v1, v2, v3] = m.values;
    let args = args![
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
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

const LATEST: &str = "INSERT INTO fact_members (attempt_key, run_key, kind, member, v1, v2, v3, body, source_seq, \
    occurred_at, fact_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
    ON CONFLICT (attempt_key, kind, member) DO UPDATE SET v1 = excluded.v1, v2 = excluded.v2, v3 = excluded.v3, \
    body = excluded.body, source_seq = excluded.source_seq, occurred_at = excluded.occurred_at, \
    fact_id = excluded.fact_id WHERE excluded.source_seq > fact_members.source_seq \
    OR (excluded.source_seq = fact_members.source_seq AND excluded.fact_id > fact_members.fact_id)";

const UNION: &str = "INSERT INTO fact_members (attempt_key, run_key, kind, member, v1, v2, v3, body, source_seq, \
    occurred_at, fact_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
    ON CONFLICT (attempt_key, kind, member) DO UPDATE SET \
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

/// Puts a step at its position. A record of the trace never changes, so the first one stands.
pub(crate) async fn step(tx: &mut Tx, place: Place, fact: &Fact, s: &StepFact) -> Result<(), DbError> {
    let sql = "INSERT INTO step_facts (attempt_key, position, recorded, step_index, kind, name, tool, model, outcome, \
               retry_count, input_tokens, output_tokens, cost_microusd, duration_us, unauthorized, despite_denial, \
               gap, parameters_digest, occurred_at, corrected_seq, corrected_by) \
               VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 0, '') \
               ON CONFLICT (attempt_key, position) DO UPDATE SET recorded = 1, step_index = excluded.step_index, \
               kind = excluded.kind, name = excluded.name, tool = excluded.tool, model = excluded.model, \
               outcome = excluded.outcome, retry_count = excluded.retry_count, input_tokens = excluded.input_tokens, \
               output_tokens = excluded.output_tokens, cost_microusd = excluded.cost_microusd, \
               duration_us = excluded.duration_us, unauthorized = excluded.unauthorized, \
               despite_denial = excluded.despite_denial, gap = excluded.gap, \
               parameters_digest = excluded.parameters_digest, occurred_at = excluded.occurred_at \
               WHERE step_facts.recorded = 0";
    let args = args![
        place.attempt_key,
        s.position,
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
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// Corrects the usage at a position, whether its step is known already or not; the latest correction stands.
pub(crate) async fn correct(tx: &mut Tx, place: Place, fact: &Fact, u: &UsageFact) -> Result<(), DbError> {
    let sql = "INSERT INTO step_facts (attempt_key, position, recorded, step_index, kind, name, tool, model, outcome, \
               retry_count, input_tokens, output_tokens, cost_microusd, duration_us, unauthorized, despite_denial, \
               gap, parameters_digest, occurred_at, corrected_seq, corrected_by, corrected_input_tokens, \
               corrected_output_tokens, corrected_cost_microusd) \
               VALUES ($1, $2, 0, 0, 0, '', '', '', 0, 0, 0, 0, 0, 0, 0, 0, 0, $3, 0, $4, $5, $6, $7, $8) \
               ON CONFLICT (attempt_key, position) DO UPDATE SET corrected_seq = excluded.corrected_seq, \
               corrected_by = excluded.corrected_by, corrected_input_tokens = excluded.corrected_input_tokens, \
               corrected_output_tokens = excluded.corrected_output_tokens, \
               corrected_cost_microusd = excluded.corrected_cost_microusd \
               WHERE excluded.corrected_seq > step_facts.corrected_seq OR (excluded.corrected_seq = \
               step_facts.corrected_seq AND excluded.corrected_by > step_facts.corrected_by)";
    let args = args![
        place.attempt_key,
        u.position,
        bytes::Bytes::new(),
        fact.source_seq,
        &fact.fact_id,
        u.input_tokens,
        u.output_tokens,
        u.cost_microusd,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}
