-- agent_ids: one a line. held_*: the use under way.
CREATE TABLE scopes (
    scope_key INTEGER PRIMARY KEY,
    scope_id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    action TEXT NOT NULL,
    intent TEXT NOT NULL,
    kind BIGINT NOT NULL,
    fraction_permille BIGINT NOT NULL,
    risk BIGINT NOT NULL,
    agent_ids TEXT NOT NULL,
    max_cost BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    held BIGINT NOT NULL,
    held_for TEXT NOT NULL,
    held_until BIGINT,
    revoked_by TEXT NOT NULL,
    revoked_at BIGINT,
    revoke_reason TEXT NOT NULL
);
CREATE INDEX scopes_of_tenant ON scopes (tenant_id, scope_key);
CREATE INDEX scopes_of_incident ON scopes (tenant_id, incident_id, scope_key);

CREATE TABLE scope_uses (
    tenant_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    scope_key BIGINT NOT NULL,
    number BIGINT NOT NULL,
    hold_id TEXT NOT NULL,
    risk BIGINT NOT NULL,
    estimate BIGINT NOT NULL,
    consumed_by TEXT NOT NULL,
    consumed_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, attempt_id),
    UNIQUE (scope_key, number)
);

CREATE TABLE scope_use_ends (
    tenant_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    actual BIGINT NOT NULL,
    outcome BIGINT NOT NULL,
    settled_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, attempt_id)
);
