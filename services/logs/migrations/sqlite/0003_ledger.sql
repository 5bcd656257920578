CREATE TABLE ledger (
    id             INTEGER PRIMARY KEY,
    tenant_id      TEXT NOT NULL,
    seq            BIGINT NOT NULL,
    entry_id       TEXT NOT NULL,
    event_id       TEXT NOT NULL,
    event_type     TEXT NOT NULL,
    scope          BIGINT NOT NULL,
    run_id         TEXT NOT NULL,
    attempt        BIGINT NOT NULL,
    step_index     BIGINT,
    correlation_id TEXT NOT NULL,
    causation_id   TEXT NOT NULL,
    entity_type    TEXT NOT NULL,
    entity_id      TEXT NOT NULL,
    actor_type     BIGINT NOT NULL,
    actor_id       TEXT NOT NULL,
    reason         TEXT NOT NULL,
    before_digest  BLOB NOT NULL,
    after_digest   BLOB NOT NULL,
    occurred_at    BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL,
    entry          BLOB NOT NULL,
    link           BLOB NOT NULL
);
CREATE UNIQUE INDEX ledger_seq ON ledger (tenant_id, seq);
CREATE UNIQUE INDEX ledger_event ON ledger (tenant_id, event_id);
CREATE INDEX ledger_run ON ledger (tenant_id, run_id, seq) WHERE run_id <> '';
CREATE INDEX ledger_type ON ledger (tenant_id, event_type, seq);
CREATE INDEX ledger_entity ON ledger (tenant_id, entity_type, entity_id, seq);
CREATE INDEX ledger_actor ON ledger (tenant_id, actor_type, actor_id, seq);
CREATE INDEX ledger_correlation ON ledger (tenant_id, correlation_id, seq) WHERE correlation_id <> '';

-- The end of each tenant's chain: a working row, and what shows that a tail was cut off.
CREATE TABLE ledger_heads (
    tenant_id TEXT NOT NULL PRIMARY KEY,
    seq       BIGINT NOT NULL,
    link      BLOB NOT NULL
) WITHOUT ROWID;

-- States can be erased with their salt; the entry's digests stay.
CREATE TABLE ledger_states (
    id           INTEGER PRIMARY KEY,
    tenant_id    TEXT NOT NULL,
    seq          BIGINT NOT NULL,
    before_state TEXT,
    after_state  TEXT,
    state_salt   BLOB
);
CREATE UNIQUE INDEX ledger_states_key ON ledger_states (tenant_id, seq);
