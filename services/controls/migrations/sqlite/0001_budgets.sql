-- Numbers that tell whether something changed: the freeze epoch, and one for the limits of each tenant.
CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO marks (name, value) VALUES ('epoch', 0);

CREATE TABLE limits (
    limit_key INTEGER PRIMARY KEY,
    limit_id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    scope BIGINT NOT NULL,
    scope_id TEXT NOT NULL,
    state BIGINT NOT NULL,
    source BIGINT NOT NULL,
    version BIGINT NOT NULL,
    spec BLOB NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, name)
);

CREATE TABLE limit_versions (
    limit_key BIGINT NOT NULL,
    version BIGINT NOT NULL,
    state BIGINT NOT NULL,
    spec BLOB NOT NULL,
    reason TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (limit_key, version)
);

CREATE TABLE envelopes (
    envelope_key INTEGER PRIMARY KEY,
    envelope_id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL,
    limit_key BIGINT NOT NULL,
    scope BIGINT NOT NULL,
    scope_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (limit_key, scope_id)
);
CREATE INDEX envelopes_of_tenant ON envelopes (tenant_id, envelope_key);

CREATE TABLE envelope_periods (
    envelope_key BIGINT NOT NULL,
    period_start BIGINT NOT NULL,
    period_end BIGINT,
    rollover_in BIGINT NOT NULL,
    adjusted BIGINT NOT NULL,
    debt_in BIGINT NOT NULL,
    settled BIGINT NOT NULL,
    granted BIGINT NOT NULL,
    debt BIGINT NOT NULL,
    unfunded BIGINT NOT NULL,
    rolled_out BIGINT NOT NULL,
    closed BIGINT NOT NULL,
    warned BIGINT NOT NULL,
    blocked BIGINT NOT NULL,
    PRIMARY KEY (envelope_key, period_start)
);

-- One row for each run attempt that controls was ever asked about. Every hold of the run lives by it.
CREATE TABLE run_leases (
    run_key INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    state BIGINT NOT NULL,
    fence BIGINT NOT NULL,
    expires_at BIGINT,
    scope BLOB NOT NULL,
    seen_at BIGINT NOT NULL,
    UNIQUE (tenant_id, run_id, attempt)
);
CREATE INDEX run_leases_to_lapse ON run_leases (expires_at) WHERE state = 2;

CREATE TABLE allocations (
    run_key BIGINT NOT NULL,
    envelope_key BIGINT NOT NULL,
    period_start BIGINT NOT NULL,
    granted BIGINT NOT NULL,
    held BIGINT NOT NULL,
    spent BIGINT NOT NULL,
    used BIGINT NOT NULL,
    unfunded BIGINT NOT NULL,
    open BIGINT NOT NULL,
    PRIMARY KEY (run_key, envelope_key, period_start)
);
CREATE INDEX allocations_open ON allocations (envelope_key, period_start) WHERE open = 1;

CREATE TABLE holds (
    run_key BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    ask BIGINT NOT NULL,
    hold_id TEXT NOT NULL UNIQUE,
    state BIGINT NOT NULL,
    cost_microusd BIGINT NOT NULL,
    tokens_input BIGINT NOT NULL,
    tokens_output BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    source BIGINT NOT NULL,
    extensions BIGINT NOT NULL,
    ambiguous BIGINT NOT NULL,
    released_for BIGINT,
    settle_digest BLOB,
    settle_answer BLOB,
    PRIMARY KEY (run_key, step_index, ask)
);
CREATE INDEX holds_active ON holds (run_key) WHERE state = 1;

CREATE TABLE hold_lines (
    run_key BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    ask BIGINT NOT NULL,
    envelope_key BIGINT NOT NULL,
    period_start BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    unfunded BIGINT NOT NULL,
    PRIMARY KEY (run_key, step_index, ask, envelope_key)
);

-- seq: 0 begins a hold, 1 to 16 extend it, 99 ends it. The key is why a hold ends once.
CREATE TABLE hold_transitions (
    run_key BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    ask BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    from_state BIGINT NOT NULL,
    to_state BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (run_key, step_index, ask, seq)
);

CREATE TABLE budget_entries (
    entry_seq INTEGER PRIMARY KEY,
    envelope_key BIGINT NOT NULL,
    period_start BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    funding BIGINT,
    amount BIGINT NOT NULL,
    run_key BIGINT,
    step_index BIGINT,
    ask BIGINT,
    settlement_id TEXT,
    actor_id TEXT,
    at BIGINT NOT NULL
);
CREATE INDEX budget_entries_of_period ON budget_entries (envelope_key, period_start);
CREATE INDEX budget_entries_of_run ON budget_entries (run_key);

CREATE TABLE settlements (
    settlement_id TEXT PRIMARY KEY,
    run_key BIGINT NOT NULL UNIQUE,
    outcome BIGINT NOT NULL,
    answer BLOB NOT NULL,
    settled_at BIGINT NOT NULL
);

CREATE TABLE settlement_reversals (
    settlement_id TEXT PRIMARY KEY,
    saga_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    answer BLOB NOT NULL,
    reversed_at BIGINT NOT NULL
);

-- step_index -1 is the admission of the run.
CREATE TABLE evidence (
    run_key BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    ask BIGINT NOT NULL,
    evidence_id TEXT NOT NULL,
    decision_id TEXT NOT NULL,
    fence BIGINT NOT NULL,
    verdict BIGINT NOT NULL,
    plain BIGINT NOT NULL,
    resolver_version BIGINT NOT NULL,
    inputs BLOB NOT NULL,
    inputs_digest BLOB NOT NULL,
    request_digest BLOB NOT NULL,
    answer BLOB NOT NULL,
    evaluated_at BIGINT NOT NULL,
    PRIMARY KEY (run_key, step_index, ask)
);

CREATE TABLE breaches (
    breach_id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    envelope_key BIGINT NOT NULL,
    period_start BIGINT NOT NULL,
    run_key BIGINT NOT NULL,
    step_index BIGINT,
    type BIGINT NOT NULL,
    value BIGINT NOT NULL,
    limit_value BIGINT NOT NULL,
    breached_at BIGINT NOT NULL,
    UNIQUE (run_key, envelope_key, period_start, type)
);
