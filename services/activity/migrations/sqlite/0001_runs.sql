-- Runs, attempts, transitions, leases, pauses, stops, facts. Enums are stored as the numbers of the contract; times are
-- microseconds; flags 0 and 1.

CREATE TABLE runs (
    run_key INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    project_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    agent_version TEXT NOT NULL,
    parent_run_id TEXT NOT NULL,
    depth BIGINT NOT NULL,
    request_digest BLOB NOT NULL,
    is_synthetic BIGINT NOT NULL,
    synthetic_scenario_id TEXT NOT NULL,
    goal_digest BLOB NOT NULL,
    actor_type BIGINT NOT NULL,
    actor_id TEXT NOT NULL,
    origin_system_id TEXT NOT NULL,
    source BIGINT NOT NULL,
    provider_type TEXT NOT NULL,
    credential_id TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    credential_agent_id TEXT NOT NULL,
    priority BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    max_inflight BIGINT NOT NULL,
    run_timeout_ms BIGINT NOT NULL,
    lease_ttl_ms BIGINT NOT NULL,
    expected_latency_ms BIGINT NOT NULL,
    expected_ms BIGINT NOT NULL,
    profile BIGINT NOT NULL,
    governance_config_version TEXT NOT NULL,
    governance_config_digest BLOB NOT NULL,
    labels TEXT NOT NULL,
    seed BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    -- the latest attempt's values
    state BIGINT NOT NULL,
    latest_attempt BIGINT NOT NULL,
    latest_attempt_key BIGINT NOT NULL,
    run_phase BIGINT NOT NULL,
    run_status BIGINT NOT NULL,
    run_sequence BIGINT NOT NULL,
    started_at BIGINT,
    run_completed_at BIGINT,
    run_next_attempt_at BIGINT,
    run_paused_since BIGINT,
    run_paused_ms BIGINT NOT NULL,
    duration_ms BIGINT,
    run_authorization_decision BIGINT NOT NULL,
    run_authorization_engine TEXT NOT NULL,
    run_authorization_context_digest BLOB NOT NULL,
    run_authorized_at BIGINT,
    run_authorized_by TEXT NOT NULL,
    policy_snapshot_id TEXT NOT NULL,
    policy_snapshot_digest BLOB NOT NULL,
    degraded BIGINT NOT NULL,
    run_termination_reason BIGINT NOT NULL,
    run_stopped_at_step BIGINT,
    violation_policy_id TEXT NOT NULL,
    run_error_code TEXT NOT NULL,
    error_message TEXT NOT NULL,
    run_evaluation_id TEXT NOT NULL,
    run_incident_disposition BIGINT NOT NULL,
    run_incident_result_id TEXT NOT NULL,
    CONSTRAINT runs_phase_status CHECK ((run_phase = 1 AND run_status IN (1, 2)) OR (run_phase = 2 AND run_status IN (1)) OR (run_phase = 3 AND run_status IN (3, 4)) OR (run_phase = 4 AND run_status IN (3)) OR (run_phase = 5 AND run_status IN (3)) OR (run_phase = 6 AND run_status IN (5)) OR (run_phase = 7 AND run_status IN (6, 7, 8, 9))),
    CONSTRAINT runs_attribution CHECK ((actor_type = 1) = (actor_id <> '')),
    CONSTRAINT runs_tenant_run UNIQUE (tenant_id, run_id)
);
CREATE INDEX runs_state_started ON runs (tenant_id, state, started_at, run_id);
-- Runs that have not started are last in lists, whichever the order.
CREATE INDEX runs_started ON runs (tenant_id, (COALESCE(started_at, -1)), run_id);
CREATE INDEX runs_created ON runs (tenant_id, created_at, run_id);
CREATE INDEX runs_status ON runs (tenant_id, run_status, run_id);
CREATE INDEX runs_completed ON runs (tenant_id, run_completed_at, run_id);
CREATE INDEX runs_agent ON runs (tenant_id, agent_id, started_at, run_id);
CREATE INDEX runs_project ON runs (tenant_id, project_id, started_at, run_id);
CREATE INDEX runs_parent ON runs (tenant_id, parent_run_id) WHERE parent_run_id <> '';

-- What the kernel keeps to go on with a run; apart, so that the rows that every step reads stay small.
CREATE TABLE run_inputs (
    run_key INTEGER PRIMARY KEY REFERENCES runs (run_key),
    start_input BLOB NOT NULL
);

CREATE TABLE run_attempts (
    attempt_key INTEGER PRIMARY KEY,
    run_key BIGINT NOT NULL REFERENCES runs (run_key),
    tenant_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    trace_id TEXT NOT NULL,
    phase BIGINT NOT NULL,
    status BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    attempt_reason TEXT NOT NULL,
    attempt_created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    next_attempt_at BIGINT,
    executing_since BIGINT,
    completed_at BIGINT,
    paused_since BIGINT,
    paused_ms BIGINT NOT NULL,
    authorization_decision BIGINT NOT NULL,
    authorization_engine TEXT NOT NULL,
    authorization_context_digest BLOB NOT NULL,
    authorized_at BIGINT,
    authorized_by TEXT NOT NULL,
    termination_reason BIGINT NOT NULL,
    stopped_at_step BIGINT,
    error_code TEXT NOT NULL,
    evaluation_id TEXT NOT NULL,
    incident_disposition BIGINT NOT NULL,
    incident_result_id TEXT NOT NULL,
    usage BLOB NOT NULL,
    CONSTRAINT run_attempts_phase_status CHECK ((phase = 1 AND status IN (1, 2)) OR (phase = 2 AND status IN (1)) OR (phase = 3 AND status IN (3, 4)) OR (phase = 4 AND status IN (3)) OR (phase = 5 AND status IN (3)) OR (phase = 6 AND status IN (5)) OR (phase = 7 AND status IN (6, 7, 8, 9))),
    CONSTRAINT run_attempts_evidence CHECK (phase NOT IN (6, 7) OR (evaluation_id <> '' AND incident_disposition > 0)),
    CONSTRAINT run_attempts_number UNIQUE (run_key, attempt)
);
CREATE TRIGGER run_attempts_terminal BEFORE UPDATE ON run_attempts WHEN OLD.phase IN (6, 7)
BEGIN SELECT RAISE(ABORT, 'IMMUTABLE_ROW run_attempts'); END;

CREATE TABLE run_transitions (
    transition_key INTEGER PRIMARY KEY,
    attempt_key BIGINT NOT NULL REFERENCES run_attempts (attempt_key),
    run_key BIGINT NOT NULL,
    tenant_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    from_phase BIGINT NOT NULL,
    from_status BIGINT NOT NULL,
    to_phase BIGINT NOT NULL,
    to_status BIGINT NOT NULL,
    event BIGINT NOT NULL,
    reason TEXT NOT NULL,
    actor_type BIGINT NOT NULL,
    actor_id TEXT NOT NULL,
    authority BIGINT NOT NULL,
    cause_id TEXT NOT NULL,
    fence BIGINT NOT NULL,
    config_digest BLOB NOT NULL,
    request_digest BLOB NOT NULL,
    lease_fence BIGINT NOT NULL,
    lease_holder TEXT NOT NULL,
    lease_expires_at BIGINT,
    at BIGINT NOT NULL,
    CONSTRAINT run_transitions_phase_status CHECK ((to_phase = 1 AND to_status IN (1, 2)) OR (to_phase = 2 AND to_status IN (1)) OR (to_phase = 3 AND to_status IN (3, 4)) OR (to_phase = 4 AND to_status IN (3)) OR (to_phase = 5 AND to_status IN (3)) OR (to_phase = 6 AND to_status IN (5)) OR (to_phase = 7 AND to_status IN (6, 7, 8, 9))),
    CONSTRAINT run_transitions_sequence UNIQUE (attempt_key, sequence)
);
CREATE INDEX run_transitions_run ON run_transitions (run_key, attempt, sequence);

-- The lease of an attempt, the claim of a worker, and the alarms at which somebody has to look after it.
CREATE TABLE leases (
    attempt_key INTEGER PRIMARY KEY REFERENCES run_attempts (attempt_key),
    tenant_id TEXT NOT NULL,
    fence BIGINT NOT NULL,
    lease_fence BIGINT NOT NULL,
    holder TEXT NOT NULL,
    ttl_ms BIGINT NOT NULL,
    expires_at BIGINT,
    suspended BIGINT NOT NULL,
    watched BIGINT NOT NULL,
    last_seen_at BIGINT,
    renewal_id TEXT NOT NULL,
    renewal_digest BLOB NOT NULL,
    renewal_suspended BIGINT NOT NULL,
    claimed_by TEXT NOT NULL,
    claimed_until BIGINT,
    stale_since BIGINT,
    stop_at BIGINT,
    timeout_at BIGINT,
    orphan_at BIGINT,
    pause_at BIGINT,
    warn_at BIGINT,
    other_due_at BIGINT,
    due_at BIGINT
);
CREATE INDEX leases_due ON leases (due_at, attempt_key) WHERE due_at IS NOT NULL;

CREATE TABLE stops (
    attempt_key INTEGER PRIMARY KEY REFERENCES run_attempts (attempt_key),
    tenant_id TEXT NOT NULL,
    stop_attempt BIGINT NOT NULL,
    stop_reason BIGINT NOT NULL,
    stop_code TEXT NOT NULL,
    stop_causes TEXT NOT NULL,
    stop_note TEXT NOT NULL,
    stop_actor_type BIGINT NOT NULL,
    stop_actor_id TEXT NOT NULL,
    stop_mode BIGINT NOT NULL,
    drain_until BIGINT NOT NULL,
    requested_at BIGINT NOT NULL,
    stop_fence BIGINT NOT NULL,
    stop_policy_id TEXT NOT NULL,
    stop_step BIGINT,
    stop_request_digest BLOB NOT NULL
);

CREATE TABLE pauses (
    pause_key INTEGER PRIMARY KEY,
    pause_id TEXT NOT NULL,
    attempt_key BIGINT NOT NULL REFERENCES run_attempts (attempt_key),
    tenant_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    reason BIGINT NOT NULL,
    source_id TEXT NOT NULL,
    deadline BIGINT NOT NULL,
    on_timeout BIGINT NOT NULL,
    note TEXT NOT NULL,
    actor_type BIGINT NOT NULL,
    actor_id TEXT NOT NULL,
    authority BIGINT NOT NULL,
    paused_at BIGINT NOT NULL,
    warned_at BIGINT,
    extended_at BIGINT,
    cleared_at BIGINT,
    cleared_actor_type BIGINT NOT NULL,
    cleared_actor_id TEXT NOT NULL,
    cleared_authority BIGINT NOT NULL,
    CONSTRAINT pauses_id UNIQUE (tenant_id, pause_id)
);
CREATE UNIQUE INDEX pauses_open ON pauses (attempt_key, reason, source_id) WHERE cleared_at IS NULL;
CREATE INDEX pauses_attempt ON pauses (attempt_key, pause_key);

-- The first answer to a KEYED call of the kernel.
CREATE TABLE call_answers (
    answer_key INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    request_key TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    answer BLOB NOT NULL,
    kept_at BIGINT NOT NULL,
    CONSTRAINT call_answers_call UNIQUE (tenant_id, run_id, operation, request_key)
);

CREATE TABLE applied_facts (
    fact_key INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    fact_id TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    CONSTRAINT applied_facts_fact UNIQUE (tenant_id, fact_id)
);

CREATE TABLE parked_facts (
    parked_key INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    fact_id TEXT NOT NULL,
    fact BLOB NOT NULL,
    parked_at BIGINT NOT NULL,
    CONSTRAINT parked_facts_fact UNIQUE (tenant_id, fact_id)
);
CREATE INDEX parked_facts_run ON parked_facts (tenant_id, run_id, attempt);

CREATE TABLE step_facts (
    step_key INTEGER PRIMARY KEY,
    attempt_key BIGINT NOT NULL REFERENCES run_attempts (attempt_key),
    position BIGINT NOT NULL,
    recorded BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    name TEXT NOT NULL,
    tool TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome BIGINT NOT NULL,
    retry_count BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost_microusd BIGINT NOT NULL,
    duration_us BIGINT NOT NULL,
    unauthorized BIGINT NOT NULL,
    despite_denial BIGINT NOT NULL,
    gap BIGINT NOT NULL,
    parameters_digest BLOB NOT NULL,
    occurred_at BIGINT NOT NULL,
    corrected_seq BIGINT NOT NULL,
    corrected_by TEXT NOT NULL,
    corrected_input_tokens BIGINT,
    corrected_output_tokens BIGINT,
    corrected_cost_microusd BIGINT,
    CONSTRAINT step_facts_position UNIQUE (attempt_key, position)
);
CREATE INDEX step_facts_step ON step_facts (attempt_key, step_index, position);

CREATE TABLE fact_members (
    member_key INTEGER PRIMARY KEY,
    attempt_key BIGINT NOT NULL REFERENCES run_attempts (attempt_key),
    run_key BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    member TEXT NOT NULL,
    v1 BIGINT NOT NULL,
    v2 BIGINT NOT NULL,
    v3 BIGINT NOT NULL,
    body TEXT NOT NULL,
    source_seq BIGINT NOT NULL,
    occurred_at BIGINT NOT NULL,
    fact_id TEXT NOT NULL,
    CONSTRAINT fact_members_member UNIQUE (attempt_key, kind, member)
);
CREATE INDEX fact_members_run ON fact_members (run_key, kind, member);

CREATE TABLE attempt_projection (
    attempt_key INTEGER PRIMARY KEY,
    run_ref BIGINT NOT NULL REFERENCES runs (run_key),
    tenant_id TEXT NOT NULL,
    step_count BIGINT NOT NULL,
    denied_steps BIGINT NOT NULL,
    retry_count BIGINT NOT NULL,
    ambiguous_count BIGINT NOT NULL,
    unresolved_count BIGINT NOT NULL,
    unauthorized_steps BIGINT NOT NULL,
    despite_denial BIGINT NOT NULL,
    gaps BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    estimated_cost_microusd BIGINT NOT NULL,
    settled_cost_microusd BIGINT NOT NULL,
    incident_count BIGINT NOT NULL,
    violation_count BIGINT NOT NULL,
    fact_policy_id TEXT NOT NULL,
    policy_draft_count BIGINT NOT NULL,
    integrity_status BIGINT NOT NULL,
    audit_status BIGINT NOT NULL,
    fact_degraded BIGINT NOT NULL,
    evidence_failures BIGINT NOT NULL,
    evidence_grade BIGINT NOT NULL,
    required_missing BIGINT NOT NULL,
    observability_status BIGINT NOT NULL,
    observability_error TEXT NOT NULL,
    risk_level BIGINT NOT NULL,
    last_activity_at BIGINT
);
CREATE TABLE run_projection (
    run_key INTEGER PRIMARY KEY,
    run_ref BIGINT NOT NULL REFERENCES runs (run_key),
    tenant_id TEXT NOT NULL,
    step_count BIGINT NOT NULL,
    denied_steps BIGINT NOT NULL,
    retry_count BIGINT NOT NULL,
    ambiguous_count BIGINT NOT NULL,
    unresolved_count BIGINT NOT NULL,
    unauthorized_steps BIGINT NOT NULL,
    despite_denial BIGINT NOT NULL,
    gaps BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    estimated_cost_microusd BIGINT NOT NULL,
    settled_cost_microusd BIGINT NOT NULL,
    incident_count BIGINT NOT NULL,
    violation_count BIGINT NOT NULL,
    fact_policy_id TEXT NOT NULL,
    policy_draft_count BIGINT NOT NULL,
    integrity_status BIGINT NOT NULL,
    audit_status BIGINT NOT NULL,
    fact_degraded BIGINT NOT NULL,
    evidence_failures BIGINT NOT NULL,
    evidence_grade BIGINT NOT NULL,
    required_missing BIGINT NOT NULL,
    observability_status BIGINT NOT NULL,
    observability_error TEXT NOT NULL,
    risk_level BIGINT NOT NULL,
    last_activity_at BIGINT
);
CREATE INDEX run_projection_risk ON run_projection (tenant_id, risk_level, run_key);

CREATE VIEW v_runs AS
SELECT r.*, a.executing_since, l.holder, l.lease_fence, l.expires_at, l.suspended, l.last_seen_at, l.stale_since,
    p.step_count, p.denied_steps, p.retry_count, p.ambiguous_count, p.unauthorized_steps, p.gaps, p.input_tokens,
    p.output_tokens, p.estimated_cost_microusd, p.settled_cost_microusd, p.incident_count, p.violation_count,
    p.fact_policy_id, p.policy_draft_count, p.integrity_status, p.audit_status, p.fact_degraded, p.evidence_failures,
    p.evidence_grade, p.required_missing, p.observability_status, p.observability_error, p.risk_level,
    p.last_activity_at
FROM runs r
JOIN run_attempts a ON a.attempt_key = r.latest_attempt_key
JOIN run_projection p ON p.run_key = r.run_key
JOIN leases l ON l.attempt_key = r.latest_attempt_key;

-- Everything that a move of an attempt, or a step of the kernel, has to know.
CREATE VIEW v_states AS
SELECT r.run_key, r.tenant_id, r.run_id, r.project_id, r.agent_id, r.agent_version, r.parent_run_id, r.depth,
    r.request_digest, r.is_synthetic, r.synthetic_scenario_id, r.goal_digest, r.actor_type, r.actor_id,
    r.origin_system_id, r.source, r.provider_type, r.credential_id, r.owner_id, r.credential_agent_id, r.priority,
    r.max_attempts, r.max_inflight, r.run_timeout_ms, r.lease_ttl_ms, r.expected_latency_ms, r.profile,
    r.governance_config_version, r.governance_config_digest, r.labels, r.seed, r.latest_attempt, r.started_at,
    r.policy_snapshot_id, r.policy_snapshot_digest,
    a.attempt_key, a.attempt, a.trace_id, a.phase, a.status, a.sequence, a.attempt_created_at, a.changed_at,
    a.next_attempt_at, a.executing_since, a.completed_at, a.paused_since, a.paused_ms, a.authorization_decision,
    a.authorization_engine, a.authorization_context_digest, a.authorized_at, a.authorized_by, a.termination_reason,
    a.stopped_at_step, a.error_code, a.evaluation_id, a.incident_disposition, a.incident_result_id,
    l.fence, l.lease_fence, l.holder, l.ttl_ms, l.expires_at, l.suspended, l.claimed_until, l.stale_since, l.stop_at,
    l.timeout_at, l.orphan_at, l.pause_at, l.warn_at,
    s.stop_attempt, s.stop_reason, s.stop_code, s.stop_causes, s.stop_note, s.stop_actor_type, s.stop_actor_id,
    s.stop_mode, s.drain_until, s.requested_at, s.stop_fence, s.stop_policy_id, s.stop_step, s.stop_request_digest
FROM runs r
JOIN run_attempts a ON a.run_key = r.run_key
JOIN leases l ON l.attempt_key = a.attempt_key
LEFT JOIN stops s ON s.attempt_key = a.attempt_key;
