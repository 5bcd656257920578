-- How attempts stand with limits, as it was evaluated last, and which of them shows first.

CREATE TABLE run_limits (
    limit_key INTEGER PRIMARY KEY,
    attempt_key BIGINT NOT NULL REFERENCES run_attempts (attempt_key),
    run_key BIGINT NOT NULL,
    limit_id TEXT NOT NULL,
    policy_id TEXT NOT NULL,
    policy_name TEXT NOT NULL,
    policy_scope BIGINT NOT NULL,
    scope_id TEXT NOT NULL,
    limit_type BIGINT NOT NULL,
    threshold_value BIGINT,
    threshold_unit BIGINT NOT NULL,
    threshold_source BIGINT NOT NULL,
    blocking BIGINT NOT NULL,
    actual_value BIGINT,
    evaluation_outcome BIGINT NOT NULL,
    proximity_permille BIGINT,
    rule_version BIGINT NOT NULL,
    source_seq BIGINT NOT NULL,
    evaluated_at BIGINT NOT NULL,
    fact_id TEXT NOT NULL,
    CONSTRAINT run_limits_limit UNIQUE (attempt_key, limit_id)
);
CREATE INDEX run_limits_run ON run_limits (run_key, attempt_key, limit_id);

ALTER TABLE attempt_projection ADD COLUMN violation_ref TEXT NOT NULL DEFAULT '';
ALTER TABLE attempt_projection ADD COLUMN limits_evaluated BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attempt_projection ADD COLUMN worst_limit BIGINT;
ALTER TABLE run_projection ADD COLUMN violation_ref TEXT NOT NULL DEFAULT '';
ALTER TABLE run_projection ADD COLUMN limits_evaluated BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run_projection ADD COLUMN worst_limit BIGINT;

DROP VIEW v_runs;
CREATE VIEW v_runs AS
SELECT r.*, a.executing_since, l.holder, l.lease_fence, l.expires_at, l.suspended, l.last_seen_at, l.stale_since,
    p.step_count, p.denied_steps, p.retry_count, p.ambiguous_count, p.unauthorized_steps, p.gaps, p.input_tokens,
    p.output_tokens, p.estimated_cost_microusd, p.settled_cost_microusd, p.incident_count, p.violation_count,
    p.fact_policy_id, p.policy_draft_count, p.integrity_status, p.audit_status, p.fact_degraded, p.evidence_failures,
    p.evidence_grade, p.required_missing, p.observability_status, p.observability_error, p.risk_level,
    p.last_activity_at, p.violation_ref, p.limits_evaluated,
    w.limit_id, w.policy_id, w.policy_name, w.policy_scope, w.scope_id, w.limit_type, w.threshold_value,
    w.threshold_unit, w.threshold_source, w.blocking, w.actual_value, w.evaluation_outcome, w.proximity_permille,
    w.rule_version
FROM runs r
JOIN run_attempts a ON a.attempt_key = r.latest_attempt_key
JOIN run_projection p ON p.run_key = r.run_key
JOIN leases l ON l.attempt_key = r.latest_attempt_key
LEFT JOIN run_limits w ON w.limit_key = p.worst_limit;
