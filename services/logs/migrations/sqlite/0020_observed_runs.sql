-- The run that spans of an OpenTelemetry trace belong to when they name none: as it was at first sight.
CREATE TABLE otlp_runs (
    id         INTEGER PRIMARY KEY,
    tenant_id  TEXT NOT NULL,
    otel_trace TEXT NOT NULL,
    run_id     TEXT NOT NULL,
    seen_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX otlp_runs_trace ON otlp_runs (tenant_id, otel_trace);

-- The roots of observed runs: what ends them. failed: 0 it went well, 1 it did not, with the code of its failure.
CREATE TABLE otlp_roots (
    id          INTEGER PRIMARY KEY,
    trace_key   BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    span        TEXT NOT NULL,
    failed      BIGINT NOT NULL,
    code        TEXT NOT NULL,
    received_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX otlp_roots_span ON otlp_roots (trace_key, span);

-- Observed runs that go on: a working row, which follows from the spans, the roots and the seal. look_at: when somebody
-- looks after it next; NULL once it is sealed. quiet: 0 it goes on, then why it counts as ended: 1 its root came, 2 no
-- root came, 3 it is as old as a run can be.
CREATE TABLE observed_runs (
    trace_key    INTEGER PRIMARY KEY REFERENCES traces (trace_key) ON DELETE RESTRICT,
    last_span_at BIGINT NOT NULL,
    look_at      BIGINT,
    quiet        BIGINT NOT NULL
);
CREATE INDEX observed_runs_due ON observed_runs (look_at) WHERE look_at IS NOT NULL;
