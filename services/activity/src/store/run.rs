//! Writing runs, attempts and transitions.

use bytes::Bytes;
use contracts_activity::v1::{Authorization, RunAttributes, SnapshotRef};
use runspine_db::{AssertSqlSafe, DbError, Tx, args};
use runspine_rpc::optional_micros;
use runspine_types::Micros;

use crate::store::row::{StateRow, TransitionRow};

/// A run to be made.
pub(crate) struct NewRun<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) run_id: &'a str,
    pub(crate) attributes: &'a RunAttributes,
    pub(crate) labels: String,
    pub(crate) expected_ms: i64,
    pub(crate) phase: i32,
    pub(crate) status: i32,
    pub(crate) authorization: Authorization,
    pub(crate) snapshot: SnapshotRef,
    pub(crate) degraded: bool,
    pub(crate) next_attempt_at: Option<Micros>,
    pub(crate) start_input: Bytes,
    pub(crate) now: Micros,
}

const RUN_COLUMNS: &str = "tenant_id, run_id, project_id, agent_id, agent_version, parent_run_id, depth, request_digest, \
    is_synthetic, synthetic_scenario_id, goal_digest, actor_type, actor_id, origin_system_id, source, provider_type, \
    credential_id, owner_id, credential_agent_id, priority, max_attempts, max_inflight, run_timeout_ms, lease_ttl_ms, \
    expected_latency_ms, expected_ms, profile, governance_config_version, governance_config_digest, labels, seed, \
    created_at, run_phase, run_status, run_next_attempt_at, run_authorization_decision, run_authorization_engine, \
    run_authorization_context_digest, run_authorized_at, run_authorized_by, policy_snapshot_id, \
    policy_snapshot_digest, degraded, state, latest_attempt, latest_attempt_key, run_sequence, run_paused_ms, \
    run_termination_reason, violation_policy_id, run_error_code, error_message, run_evaluation_id, \
    run_incident_disposition, run_incident_result_id";

/// Makes a run row with what the kernel keeps beside it, and answers its key.
pub(crate) async fn insert(tx: &mut Tx, new: &NewRun<'_>) -> Result<i64, DbError> {
    let a = new.attributes;
    let auth = &new.authorization;
    let args = args![
        new.tenant,
        new.run_id,
        &a.project_id,
        &a.agent_id,
        &a.agent_version,
        &a.parent_run_id,
        a.depth,
        &a.request_digest,
        a.is_synthetic,
        &a.synthetic_scenario_id,
        &a.goal_digest,
        a.actor_type,
        &a.actor_id,
        &a.origin_system_id,
        a.source,
        &a.provider_type,
        &a.credential_id,
        &a.owner_id,
        &a.credential_agent_id,
        a.priority,
        a.max_attempts,
        a.max_inflight,
        a.run_timeout_ms,
        a.lease_ttl_ms,
        a.expected_latency_ms,
        new.expected_ms,
        a.profile,
        &a.governance_config_version,
        &a.governance_config_digest,
        &new.labels,
        a.seed,
        new.now,
        new.phase,
        new.status,
        new.next_attempt_at,
        auth.decision,
        &auth.engine,
        &auth.context_digest,
        optional_micros(auth.authorized_at.as_ref()),
        &auth.authorized_by,
        &new.snapshot.id,
        &new.snapshot.digest,
        new.degraded,
    ];
    let marks = crate::store::placeholders(1, args.len());
    let sql = format!(
        "INSERT INTO runs ({RUN_COLUMNS}) VALUES ({marks}, 1, 1, 0, 1, 0, 0, '', '', '', '', 0, '') RETURNING run_key"
    );
    let (run_key,): (i64,) = tx.fetch_one(AssertSqlSafe(sql), args).await?;
    if !new.start_input.is_empty() {
        let sql = "INSERT INTO run_inputs (run_key, start_input) VALUES ($1, $2)";
        tx.execute(sql, args![run_key, &new.start_input]).await?;
    }
    Ok(run_key)
}

/// An attempt to be made.
pub(crate) struct NewAttempt<'a> {
    pub(crate) run_key: i64,
    pub(crate) tenant: &'a str,
    pub(crate) attempt: u32,
    pub(crate) trace_id: &'a str,
    pub(crate) phase: i32,
    pub(crate) status: i32,
    pub(crate) reason: &'a str,
    pub(crate) next_attempt_at: Option<Micros>,
    pub(crate) authorization: Authorization,
    pub(crate) now: Micros,
}

/// Makes an attempt row, makes it the latest of its run, and answers its key.
pub(crate) async fn insert_attempt(tx: &mut Tx, new: &NewAttempt<'_>) -> Result<i64, DbError> {
    let sql = "INSERT INTO run_attempts (run_key, tenant_id, attempt, trace_id, phase, status, sequence, attempt_reason, \
               attempt_created_at, changed_at, next_attempt_at, paused_ms, authorization_decision, \
               authorization_engine, authorization_context_digest, authorized_at, authorized_by, termination_reason, \
               error_code, evaluation_id, incident_disposition, incident_result_id, usage) \
               VALUES ($1, $2, $3, $4, $5, $6, 1, $7, $8, $8, $9, 0, $10, $11, $12, $13, $14, 0, '', '', 0, '', $15) \
               RETURNING attempt_key";
    let auth = &new.authorization;
    let args = args![
        new.run_key,
        new.tenant,
        new.attempt,
        new.trace_id,
        new.phase,
        new.status,
        new.reason,
        new.now,
        new.next_attempt_at,
        auth.decision,
        &auth.engine,
        &auth.context_digest,
        optional_micros(auth.authorized_at.as_ref()),
        &auth.authorized_by,
        Bytes::new(),
    ];
    let (attempt_key,): (i64,) = tx.fetch_one(sql, args).await?;
    let sql = "UPDATE runs SET latest_attempt = $2, latest_attempt_key = $3, run_phase = $4, run_status = $5, \
               run_sequence = 1, state = 1, run_next_attempt_at = $6, run_completed_at = NULL, duration_ms = NULL, \
               run_paused_since = NULL, run_paused_ms = 0, run_termination_reason = 0, run_stopped_at_step = NULL, \
               violation_policy_id = '', run_error_code = '', error_message = '', run_evaluation_id = '', \
               run_incident_disposition = 0, run_incident_result_id = '' WHERE run_key = $1";
    let args = args![new.run_key, new.attempt, attempt_key, new.phase, new.status, new.next_attempt_at];
    tx.execute(sql, args).await?;
    Ok(attempt_key)
}

/// Appends a transition. Its sequence number is unique: who comes second fails.
pub(crate) async fn insert_transition(
    tx: &mut Tx,
    tenant: &str,
    run_key: i64,
    attempt_key: i64,
    t: &TransitionRow,
) -> Result<(), DbError> {
    let sql = "INSERT INTO run_transitions (attempt_key, run_key, tenant_id, attempt, sequence, from_phase, from_status, \
               to_phase, to_status, event, reason, actor_type, actor_id, authority, cause_id, fence, config_digest, \
               request_digest, lease_fence, lease_holder, lease_expires_at, at) VALUES \
               ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)";
    let args = args![
        attempt_key,
        run_key,
        tenant,
        t.attempt,
        t.sequence,
        t.from_phase,
        t.from_status,
        t.to_phase,
        t.to_status,
        t.event,
        &t.reason,
        t.actor_type,
        &t.actor_id,
        t.authority,
        &t.cause_id,
        t.fence,
        &t.config_digest,
        &t.request_digest,
        t.lease_fence,
        &t.lease_holder,
        t.lease_expires_at,
        t.at,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// The transition of an attempt with a number.
pub(crate) async fn transition(
    tx: &mut Tx,
    attempt_key: i64,
    sequence: i64,
) -> Result<Option<TransitionRow>, DbError> {
    let sql = format!(
        "SELECT {} FROM run_transitions WHERE attempt_key = $1 AND sequence = $2",
        TransitionRow::COLUMNS
    );
    tx.fetch_optional(AssertSqlSafe(sql), args![attempt_key, sequence]).await
}

/// What an end adds to the row of the run.
#[derive(Default)]
pub(crate) struct End {
    pub(crate) error_message: String,
    pub(crate) violation_policy_id: String,
    pub(crate) usage: Bytes,
    pub(crate) duration_ms: Option<i64>,
}

/// Writes what a move changed of an attempt and of its run.
pub(crate) async fn save(
    tx: &mut Tx,
    s: &StateRow,
    state: i32,
    degraded: bool,
    end: &End,
) -> Result<(), DbError> {
    let sql = "UPDATE run_attempts SET phase = $2, status = $3, sequence = $4, changed_at = $5, next_attempt_at = $6, \
               executing_since = $7, completed_at = $8, paused_since = $9, paused_ms = $10, \
               authorization_decision = $11, authorization_engine = $12, authorization_context_digest = $13, \
               authorized_at = $14, authorized_by = $15, termination_reason = $16, stopped_at_step = $17, \
               error_code = $18, evaluation_id = $19, incident_disposition = $20, incident_result_id = $21, \
               trace_id = $22, usage = $23 WHERE attempt_key = $1";
    let args = args![
        s.attempt_key,
        s.phase,
        s.status,
        s.sequence,
        s.changed_at,
        s.next_attempt_at,
        s.executing_since,
        s.completed_at,
        s.paused_since,
        s.paused_ms,
        s.authorization_decision,
        &s.authorization_engine,
        &s.authorization_context_digest,
        s.authorized_at,
        &s.authorized_by,
        s.termination_reason,
        s.stopped_at_step,
        &s.error_code,
        &s.evaluation_id,
        s.incident_disposition,
        &s.incident_result_id,
        &s.trace_id,
        &end.usage,
    ];
    tx.execute(sql, args).await?;
    save_run(tx, s, state, degraded, end).await
}

async fn save_run(tx: &mut Tx, s: &StateRow, state: i32, degraded: bool, end: &End) -> Result<(), DbError> {
    let sql = "UPDATE runs SET state = $2, run_phase = $3, run_status = $4, run_sequence = $5, started_at = $6, \
               run_completed_at = $7, run_next_attempt_at = $8, run_paused_since = $9, run_paused_ms = $10, \
               duration_ms = $11, run_authorization_decision = $12, run_authorization_engine = $13, \
               run_authorization_context_digest = $14, run_authorized_at = $15, run_authorized_by = $16, \
               policy_snapshot_id = $17, policy_snapshot_digest = $18, \
               degraded = CASE WHEN $19 = 1 THEN 1 ELSE degraded END, run_termination_reason = $20, \
               run_stopped_at_step = $21, violation_policy_id = $22, run_error_code = $23, error_message = $24, \
               run_evaluation_id = $25, run_incident_disposition = $26, run_incident_result_id = $27 \
               WHERE run_key = $1";
    let args = args![
        s.run_key,
        state,
        s.phase,
        s.status,
        s.sequence,
        s.started_at,
        s.completed_at,
        s.next_attempt_at,
        s.paused_since,
        s.paused_ms,
        end.duration_ms,
        s.authorization_decision,
        &s.authorization_engine,
        &s.authorization_context_digest,
        s.authorized_at,
        &s.authorized_by,
        &s.policy_snapshot_id,
        &s.policy_snapshot_digest,
        degraded,
        s.termination_reason,
        s.stopped_at_step,
        &end.violation_policy_id,
        &s.error_code,
        &end.error_message,
        &s.evaluation_id,
        s.incident_disposition,
        &s.incident_result_id,
    ];
    tx.execute(sql, args).await?;
    Ok(())
}

/// What the kernel kept when it made a run. Empty: nothing.
pub(crate) async fn start_input(read: &runspine_db::Read, run_key: i64) -> Result<Bytes, DbError> {
    let sql = "SELECT start_input FROM run_inputs WHERE run_key = $1";
    Ok(read.fetch_optional::<(Bytes,)>(sql, args![run_key]).await?.map(|(input,)| input).unwrap_or_default())
}
