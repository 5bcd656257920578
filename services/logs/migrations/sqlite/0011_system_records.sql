-- What the mesh itself did: starts, stops, migrations, changes of settings. `request_id` is the key of whoever told it,
-- and stays, so that a relay that tells it again days later is still understood.
CREATE TABLE system_records (
    id             INTEGER PRIMARY KEY,
    tenant_id      TEXT NOT NULL,
    request_id     TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    record_id      TEXT NOT NULL,
    component      BIGINT NOT NULL,
    event_type     BIGINT NOT NULL,
    severity       BIGINT NOT NULL,
    caused_by      BIGINT NOT NULL,
    instance       TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    occurred_at    BIGINT NOT NULL,
    recorded_at    BIGINT NOT NULL,
    record         BLOB NOT NULL
);
CREATE UNIQUE INDEX system_records_request ON system_records (tenant_id, request_id);
CREATE INDEX system_records_time ON system_records (tenant_id, occurred_at, id);
-- The life of one instance, in the order in which it was told.
CREATE INDEX system_records_life ON system_records (tenant_id, component, instance, id);
CREATE INDEX system_records_correlation ON system_records (tenant_id, correlation_id) WHERE correlation_id <> '';
