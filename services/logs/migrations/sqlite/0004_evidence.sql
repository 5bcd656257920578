CREATE TABLE evidence (
    id             INTEGER PRIMARY KEY,
    tenant_id      TEXT NOT NULL,
    run_id         TEXT NOT NULL,
    attempt        BIGINT NOT NULL,
    seq            BIGINT NOT NULL,
    evidence_id    TEXT NOT NULL,
    kind           BIGINT NOT NULL,
    step_index     BIGINT,
    captured_at    BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL,
    request_id     TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    item           BLOB NOT NULL,
    link           BLOB NOT NULL
);
CREATE UNIQUE INDEX evidence_key ON evidence (tenant_id, run_id, attempt, seq);
CREATE UNIQUE INDEX evidence_request ON evidence (tenant_id, request_id);

-- step_index is -1 where a failure belongs to no step, so that uniqueness holds for it too. A SUPERSEDED row says that
-- a later capture took the failure's place.
CREATE TABLE evidence_failures (
    id             INTEGER PRIMARY KEY,
    failure_id     TEXT NOT NULL,
    tenant_id      TEXT NOT NULL,
    run_id         TEXT NOT NULL,
    attempt        BIGINT NOT NULL,
    step_index     BIGINT NOT NULL,
    kind           BIGINT NOT NULL,
    reason         BIGINT NOT NULL,
    detail         TEXT NOT NULL,
    resolution     BIGINT NOT NULL,
    superseded     BIGINT NOT NULL,
    superseded_by  TEXT NOT NULL,
    recorded_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX evidence_failures_key
    ON evidence_failures (tenant_id, run_id, attempt, kind, step_index, reason, superseded);
