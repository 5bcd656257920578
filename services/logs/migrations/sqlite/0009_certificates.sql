CREATE TABLE certificates (
    id             INTEGER PRIMARY KEY,
    certificate_id TEXT NOT NULL,
    tenant_id      TEXT NOT NULL,
    kind           BIGINT NOT NULL,
    run_id         TEXT NOT NULL,
    attempt        BIGINT NOT NULL,
    payload        TEXT NOT NULL,
    signature      BLOB NOT NULL,
    key_id         TEXT NOT NULL,
    issued_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX certificates_id ON certificates (certificate_id);
CREATE INDEX certificates_tenant ON certificates (tenant_id, id);
CREATE INDEX certificates_run ON certificates (tenant_id, run_id, id);

-- What became of a certificate: it was revoked, or nothing.
CREATE TABLE certificate_events (
    id             INTEGER PRIMARY KEY,
    certificate_id TEXT NOT NULL,
    reason         TEXT NOT NULL,
    actor_id       TEXT NOT NULL,
    at             BIGINT NOT NULL
);
CREATE UNIQUE INDEX certificate_events_id ON certificate_events (certificate_id);

CREATE TABLE mismatches (
    id              INTEGER PRIMARY KEY,
    mismatch_id     TEXT NOT NULL,
    tenant_id       TEXT NOT NULL,
    run_id          TEXT NOT NULL,
    attempt         BIGINT NOT NULL,
    step_index      BIGINT,
    reason          TEXT NOT NULL,
    expected_digest BLOB NOT NULL,
    actual_digest   BLOB NOT NULL,
    details         TEXT NOT NULL,
    reporter        TEXT NOT NULL,
    previous_id     TEXT NOT NULL,
    incident_id     TEXT NOT NULL,
    external_ref    TEXT NOT NULL,
    reported_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX mismatches_id ON mismatches (mismatch_id);
CREATE INDEX mismatches_tenant ON mismatches (tenant_id, reported_at, id);
CREATE INDEX mismatches_run ON mismatches (tenant_id, run_id, reported_at, id);

-- What became of a mismatch: it was explained, or nothing.
CREATE TABLE mismatch_events (
    id          INTEGER PRIMARY KEY,
    mismatch_id TEXT NOT NULL,
    note        TEXT NOT NULL,
    actor_id    TEXT NOT NULL,
    at          BIGINT NOT NULL
);
CREATE UNIQUE INDEX mismatch_events_id ON mismatch_events (mismatch_id);
