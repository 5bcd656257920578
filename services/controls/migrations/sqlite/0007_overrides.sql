-- decision: 1 open, 2 approved, 3 rejected, 4 cancelled; the state is read from it and the times. told: 1 its begin was
-- told, 2 its end.
CREATE TABLE overrides (
    override_key INTEGER PRIMARY KEY,
    override_id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL,
    limit_key BIGINT NOT NULL,
    limit_id TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    value BIGINT NOT NULL,
    base_value BIGINT NOT NULL,
    needed BIGINT NOT NULL,
    decision BIGINT NOT NULL,
    requested_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    starts_at BIGINT,
    ends_at BIGINT NOT NULL,
    version BIGINT NOT NULL,
    told BIGINT NOT NULL
);
CREATE INDEX overrides_of_tenant ON overrides (tenant_id, override_key);
CREATE INDEX overrides_to_tell ON overrides (ends_at) WHERE told < 2;

CREATE TABLE override_events (
    override_key BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    note TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (override_key, seq)
);

-- The first time that an override changed what a run attempt was answered.
CREATE TABLE override_uses (
    override_key BIGINT NOT NULL,
    run_key BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    value_without BIGINT NOT NULL,
    value_with BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (override_key, run_key)
);

-- The override but for which a breach would have been one of another type.
ALTER TABLE breaches ADD COLUMN override_id TEXT;

-- What would be in a bucket but for the override under which it was taken from.
ALTER TABLE buckets ADD COLUMN base_level BIGINT;
