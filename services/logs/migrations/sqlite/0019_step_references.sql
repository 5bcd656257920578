-- The references under which steps were recorded: by them a span finds the step that it describes. What is not here is
-- found by nothing but its index; a record says the same without its row.
CREATE TABLE step_references (
    id           INTEGER PRIMARY KEY,
    trace_key    BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    external_ref TEXT NOT NULL,
    position     BIGINT NOT NULL
);
CREATE UNIQUE INDEX step_references_step ON step_references (trace_key, external_ref, position);
