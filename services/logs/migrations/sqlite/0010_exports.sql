CREATE TABLE exports (
    id           INTEGER PRIMARY KEY,
    export_id    TEXT NOT NULL,
    tenant_id    TEXT NOT NULL,
    scope        BIGINT NOT NULL,
    format       BIGINT NOT NULL,
    run_id       TEXT NOT NULL,
    attempt      BIGINT NOT NULL,
    since        BIGINT,
    until        BIGINT,
    requested_by TEXT NOT NULL,
    actor_type   BIGINT NOT NULL,
    correlation  TEXT NOT NULL,
    reason       TEXT NOT NULL,
    created_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX exports_id ON exports (export_id);
CREATE INDEX exports_tenant ON exports (tenant_id, id);

-- kind: 1 PENDING, 2 RUNNING, 3 COMPLETED, 4 FAILED, 5 DELIVERED. What a completed export is stands at its event.
CREATE TABLE export_events (
    id         INTEGER PRIMARY KEY,
    export_id  TEXT NOT NULL,
    kind       BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    detail     TEXT NOT NULL,
    size       BIGINT NOT NULL,
    digest     BLOB NOT NULL,
    signature  BLOB NOT NULL,
    key_id     TEXT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX export_events_id ON export_events (export_id, id);

-- What is in the making: a working row. state: 1 to be made, 2 in the making, 3 done or given up.
CREATE TABLE export_work (
    export_id     TEXT NOT NULL PRIMARY KEY,
    tenant_id     TEXT NOT NULL,
    state         BIGINT NOT NULL,
    tries         BIGINT NOT NULL,
    claimed_until BIGINT NOT NULL
);
CREATE INDEX export_work_open ON export_work (claimed_until) WHERE state < 3;
CREATE INDEX export_work_tenant ON export_work (tenant_id) WHERE state < 3;

-- Content goes when it expires; the export and its events stay.
CREATE TABLE export_contents (
    id         INTEGER PRIMARY KEY,
    export_id  TEXT NOT NULL,
    piece      BIGINT NOT NULL,
    content    BLOB NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX export_contents_piece ON export_contents (export_id, piece);
CREATE INDEX export_contents_age ON export_contents (expires_at);
