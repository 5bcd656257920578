-- The key that payloads of a run are encrypted with, wrapped by the master key. Without it nobody can read them.
ALTER TABLE run_secrets ADD COLUMN data_key BLOB;

-- Stored inputs and outputs: redacted, then encrypted. Erasing empties the ciphertext; what was stored where stays known.
CREATE TABLE payloads (
    id         INTEGER PRIMARY KEY,
    tenant_id  TEXT NOT NULL,
    ref        BLOB NOT NULL,
    trace_key  BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    run_id     TEXT NOT NULL,
    attempt    BIGINT NOT NULL,
    position   BIGINT NOT NULL,
    direction  BIGINT NOT NULL,
    media_type TEXT NOT NULL,
    size       BIGINT NOT NULL,
    redactions TEXT NOT NULL,
    subject    BLOB,
    ciphertext BLOB,
    created_at BIGINT NOT NULL,
    erased_at  BIGINT,
    erasure_id TEXT NOT NULL
);
CREATE UNIQUE INDEX payloads_key ON payloads (trace_key, position, direction);
CREATE INDEX payloads_ref ON payloads (tenant_id, ref);
CREATE INDEX payloads_run ON payloads (tenant_id, run_id);
CREATE INDEX payloads_subject ON payloads (tenant_id, subject) WHERE subject IS NOT NULL;
CREATE INDEX payloads_age ON payloads (created_at) WHERE erased_at IS NULL;

-- Orders to hold and to let go; the newest of a run or a subject decides.
CREATE TABLE legal_holds (
    id        INTEGER PRIMARY KEY,
    hold_id   TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    run_id    TEXT NOT NULL,
    subject   BLOB NOT NULL,
    hold      BIGINT NOT NULL,
    reason    TEXT NOT NULL,
    actor_id  TEXT NOT NULL,
    set_at    BIGINT NOT NULL
);
CREATE INDEX legal_holds_run ON legal_holds (tenant_id, run_id, id);
CREATE INDEX legal_holds_subject ON legal_holds (tenant_id, subject, id);

-- Payloads that an attempt may not keep, counted until its seal tells it.
CREATE TABLE inspection_denials (
    trace_key BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    operation BIGINT NOT NULL,
    count     BIGINT NOT NULL,
    PRIMARY KEY (trace_key, operation)
) WITHOUT ROWID;
