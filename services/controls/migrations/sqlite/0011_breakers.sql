-- state: 1 closed, 2 open, 3 half open, as it was seen last; the time brings the next one without a writer.
-- counts: "second:calls:failures" with spaces between; schema_errors: microseconds with spaces between.
CREATE TABLE breakers (
    breaker_key INTEGER PRIMARY KEY,
    breaker_id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL,
    kind BIGINT NOT NULL,
    target_type BIGINT NOT NULL,
    target_id TEXT NOT NULL,
    state BIGINT NOT NULL,
    severity BIGINT NOT NULL,
    cause BIGINT NOT NULL,
    reason TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    open_until BIGINT,
    open_ms BIGINT NOT NULL,
    openings BIGINT NOT NULL,
    in_a_row BIGINT NOT NULL,
    counts TEXT NOT NULL,
    schema_errors TEXT NOT NULL,
    passed BIGINT NOT NULL,
    probe_holder TEXT NOT NULL,
    probe_until BIGINT,
    fallback_model TEXT NOT NULL,
    reported_at BIGINT,
    drift_permille BIGINT,
    events BIGINT NOT NULL,
    UNIQUE (tenant_id, kind, target_type, target_id)
);
CREATE INDEX breakers_not_closed ON breakers (tenant_id) WHERE state <> 1;
CREATE INDEX breakers_to_tell ON breakers (open_until) WHERE state = 2;

CREATE TABLE breaker_events (
    breaker_key BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    from_state BIGINT NOT NULL,
    to_state BIGINT NOT NULL,
    cause BIGINT NOT NULL,
    actor_id TEXT NOT NULL,
    note TEXT NOT NULL,
    drift_permille BIGINT,
    at BIGINT NOT NULL,
    PRIMARY KEY (breaker_key, seq)
);
