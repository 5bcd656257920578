-- Where the bundles of main traces are. The rows of the traces stay.
CREATE TABLE trace_archives (
    id            INTEGER PRIMARY KEY,
    trace_key     BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    location      TEXT NOT NULL,
    bundle_digest BLOB NOT NULL,
    size          BIGINT NOT NULL,
    archived_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX trace_archives_trace ON trace_archives (trace_key);
-- What is old enough to be archived.
CREATE INDEX trace_seals_time ON trace_seals (sealed_at, trace_key);
