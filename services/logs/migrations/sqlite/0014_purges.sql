-- Traces whose records an operator dropped: what is left of them is the header, the seal, and the bundle.
CREATE TABLE trace_purges (
    id            INTEGER PRIMARY KEY,
    trace_key     BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    location      TEXT NOT NULL,
    bundle_digest BLOB NOT NULL,
    records       BIGINT NOT NULL,
    purged_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX trace_purges_trace ON trace_purges (trace_key);

-- The same on the working row, where a reader of records sees it.
ALTER TABLE trace_heads ADD COLUMN purged BIGINT NOT NULL DEFAULT 0;
