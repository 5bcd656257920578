-- decision: 1 open, 2 approved, 3 rejected, 4 revoked; the state is read from it and the times. rule_ids: one a line.
CREATE TABLE bypasses (
    bypass_key INTEGER PRIMARY KEY,
    bypass_id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL,
    scope BIGINT NOT NULL,
    scope_id TEXT NOT NULL,
    rule_ids TEXT NOT NULL,
    duration_s BIGINT NOT NULL,
    ticket TEXT NOT NULL,
    decision BIGINT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    expires_at BIGINT,
    epoch BIGINT NOT NULL,
    told BIGINT NOT NULL
);
CREATE INDEX bypasses_of_tenant ON bypasses (tenant_id, bypass_key);
CREATE INDEX bypasses_to_tell ON bypasses (expires_at) WHERE told = 0;

CREATE TABLE bypass_events (
    bypass_key BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    note TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (bypass_key, action)
);

CREATE TABLE bypass_uses (
    bypass_key BIGINT NOT NULL,
    run_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    ask BIGINT NOT NULL,
    decision_id TEXT NOT NULL,
    rule_ids TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (bypass_key, run_id, attempt, step_index, ask)
);
