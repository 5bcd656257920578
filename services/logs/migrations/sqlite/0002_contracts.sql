-- The working row of a contract: rebuildable from its entries but for its identity, its claim and its fence.
CREATE TABLE contract_index (
    contract_id     INTEGER PRIMARY KEY,
    tenant_id       TEXT NOT NULL,
    saga            TEXT NOT NULL,
    subject_id      TEXT NOT NULL,
    attempt         BIGINT NOT NULL,
    state           BIGINT NOT NULL,
    declared_at     BIGINT,
    verdict         BIGINT NOT NULL,
    last_seq        BIGINT NOT NULL,
    last_link       BLOB NOT NULL,
    next_deadline   BIGINT,
    next_attempt_at BIGINT,
    claimed_by      TEXT NOT NULL DEFAULT '',
    claimed_until   BIGINT,
    fence           BIGINT NOT NULL DEFAULT 0,
    retries         BIGINT NOT NULL DEFAULT 0,
    parked          BIGINT NOT NULL DEFAULT 0,
    parked_reason   TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX contract_index_key ON contract_index (tenant_id, saga, subject_id, attempt);
CREATE INDEX contract_index_due ON contract_index (next_deadline) WHERE next_deadline IS NOT NULL AND parked = 0;
CREATE INDEX contract_index_declared ON contract_index (tenant_id, declared_at, contract_id);
CREATE INDEX contract_index_parked ON contract_index (tenant_id, contract_id) WHERE parked = 1;

-- What names a contract never changes, and a contract is never forgotten.
CREATE TRIGGER contract_index_identity BEFORE UPDATE OF contract_id, tenant_id, saga, subject_id, attempt ON contract_index
WHEN NEW.contract_id <> OLD.contract_id OR NEW.tenant_id <> OLD.tenant_id OR NEW.saga <> OLD.saga
  OR NEW.subject_id <> OLD.subject_id OR NEW.attempt <> OLD.attempt
BEGIN SELECT RAISE(ABORT, 'IMMUTABLE_ROW contract_index'); END;
CREATE TRIGGER contract_index_kept BEFORE DELETE ON contract_index
BEGIN SELECT RAISE(ABORT, 'IMMUTABLE_ROW contract_index'); END;

CREATE TABLE contract_entries (
    id          INTEGER PRIMARY KEY,
    contract_id BIGINT NOT NULL REFERENCES contract_index (contract_id) ON DELETE RESTRICT,
    seq         BIGINT NOT NULL,
    kind        BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    observed_at BIGINT,
    entry       BLOB NOT NULL,
    link        BLOB NOT NULL
);
CREATE UNIQUE INDEX contract_entries_key ON contract_entries (contract_id, seq);
