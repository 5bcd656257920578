CREATE TABLE dispatch_records (
    id          INTEGER PRIMARY KEY,
    tenant_id   TEXT NOT NULL,
    dispatch_id TEXT NOT NULL,
    operation   TEXT NOT NULL,
    actor_type  BIGINT NOT NULL,
    actor_id    TEXT NOT NULL,
    authority   BIGINT NOT NULL,
    outcome     BIGINT NOT NULL,
    run_id      TEXT NOT NULL,
    occurred_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    digest      BLOB NOT NULL,
    record      BLOB NOT NULL
);
CREATE UNIQUE INDEX dispatch_records_key ON dispatch_records (tenant_id, dispatch_id);
CREATE INDEX dispatch_records_time ON dispatch_records (tenant_id, occurred_at, id);
CREATE INDEX dispatch_records_operation ON dispatch_records (tenant_id, operation, occurred_at, id);
CREATE INDEX dispatch_records_run ON dispatch_records (tenant_id, run_id, occurred_at, id) WHERE run_id <> '';
