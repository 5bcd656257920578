-- One row for each trace and addendum. trace_key stands for the long key in the hot tables.
CREATE TABLE traces (
    trace_key      INTEGER PRIMARY KEY,
    tenant_id      TEXT NOT NULL,
    run_id         TEXT NOT NULL,
    attempt        BIGINT NOT NULL,
    addendum       BIGINT NOT NULL,
    trace_id       TEXT NOT NULL,
    project_id     TEXT NOT NULL,
    agent_id       TEXT NOT NULL,
    profile        BIGINT NOT NULL,
    source         BIGINT NOT NULL,
    scenario_id    TEXT NOT NULL,
    started_at     BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    header         BLOB NOT NULL,
    link           BLOB NOT NULL,
    request_digest BLOB NOT NULL
);
CREATE UNIQUE INDEX traces_key ON traces (tenant_id, run_id, attempt, addendum);
CREATE UNIQUE INDEX traces_id ON traces (trace_id);
CREATE INDEX traces_started ON traces (tenant_id, started_at, trace_key) WHERE addendum = 0;
CREATE INDEX traces_agent ON traces (tenant_id, agent_id, started_at, trace_key) WHERE addendum = 0;

-- The end of each trace: a working row, rebuildable from the records.
CREATE TABLE trace_heads (
    trace_key          INTEGER PRIMARY KEY REFERENCES traces (trace_key) ON DELETE RESTRICT,
    record_count       BIGINT NOT NULL,
    last_link          BLOB NOT NULL,
    last_recorded_at   BIGINT NOT NULL,
    largest_step_index BIGINT,
    sealed             BIGINT NOT NULL
);
CREATE INDEX trace_heads_link ON trace_heads (last_link);

-- Append-shaped: rows come in the order of their commits. What stands beside the bytes is what a query asks for;
-- request_digest and answer belong to the caller's idempotency and are no part of the record.
CREATE TABLE trace_records (
    id              INTEGER PRIMARY KEY,
    trace_key       BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    position        BIGINT NOT NULL,
    idempotency_key TEXT NOT NULL,
    content_digest  BLOB NOT NULL,
    request_digest  BLOB,
    answer          BLOB,
    body            BIGINT NOT NULL,
    step_index      BIGINT,
    retry_count     BIGINT NOT NULL,
    kind            BIGINT NOT NULL,
    status          BIGINT NOT NULL,
    name            TEXT NOT NULL,
    reference       TEXT,
    decision_id     TEXT,
    target          BIGINT,
    code            TEXT NOT NULL,
    unauthorized    BIGINT NOT NULL,
    gap             BIGINT NOT NULL,
    clock_skew      BIGINT NOT NULL,
    occurred_at     BIGINT NOT NULL,
    recorded_at     BIGINT NOT NULL,
    started_at      BIGINT NOT NULL,
    input_tokens    BIGINT NOT NULL,
    output_tokens   BIGINT NOT NULL,
    cost_microusd   BIGINT NOT NULL,
    duration_us     BIGINT NOT NULL,
    record          BLOB NOT NULL,
    link            BLOB NOT NULL
);
CREATE UNIQUE INDEX trace_records_position ON trace_records (trace_key, position);
CREATE UNIQUE INDEX trace_records_item ON trace_records (trace_key, idempotency_key);
CREATE INDEX trace_records_step ON trace_records (trace_key, step_index) WHERE step_index IS NOT NULL;
CREATE INDEX trace_records_reference ON trace_records (trace_key, reference) WHERE reference IS NOT NULL;

CREATE TABLE trace_seals (
    trace_key      INTEGER PRIMARY KEY REFERENCES traces (trace_key) ON DELETE RESTRICT,
    seal           BLOB NOT NULL,
    signature      BLOB NOT NULL,
    seal_digest    BLOB NOT NULL,
    key_id         TEXT NOT NULL,
    sealed_at      BIGINT NOT NULL,
    request_digest BLOB NOT NULL,
    answer         BLOB NOT NULL
);

CREATE TABLE trace_links (
    link_id     TEXT NOT NULL,
    trace_key   BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    incident_id TEXT NOT NULL,
    step_index  BIGINT,
    linked_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX trace_links_pair ON trace_links (trace_key, incident_id);
CREATE INDEX trace_links_incident ON trace_links (incident_id);

-- Erasable by column; keys stay.
CREATE TABLE run_secrets (
    tenant_id   TEXT NOT NULL,
    run_id      TEXT NOT NULL,
    digest_salt BLOB,
    PRIMARY KEY (tenant_id, run_id)
);
CREATE TABLE tenant_secrets (
    tenant_id     TEXT NOT NULL PRIMARY KEY,
    parameter_key BLOB
);

CREATE TABLE signing_keys (
    key_id     TEXT NOT NULL PRIMARY KEY,
    purpose    BIGINT NOT NULL,
    public_key BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
-- kind: 1 another key took its place, 2 its signatures are not trusted from `at` on.
CREATE TABLE signing_key_events (
    id     INTEGER PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES signing_keys (key_id) ON DELETE RESTRICT,
    kind   BIGINT NOT NULL,
    at     BIGINT NOT NULL,
    reason TEXT NOT NULL
);
