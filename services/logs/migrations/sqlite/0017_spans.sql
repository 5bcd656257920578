-- OpenTelemetry spans that were stored, by their name: what makes a resent span a duplicate.
-- result: 1 it is a step, 2 it describes a recorded step, 3 it only holds others together.
CREATE TABLE otlp_spans (
    id          INTEGER PRIMARY KEY,
    tenant_id   TEXT NOT NULL,
    span        TEXT NOT NULL,
    digest      BLOB NOT NULL,
    trace_key   BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    result      BIGINT NOT NULL,
    late        BIGINT NOT NULL,
    received_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX otlp_spans_span ON otlp_spans (tenant_id, span);
