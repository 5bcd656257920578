-- What sequence rules know of the steps so far: one row for a run, and one for each monitor that looks beyond one. The
-- digest is that of the bytes: a decision stands only if they still are what it was made with.
CREATE TABLE monitor_states (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id TEXT NOT NULL, holder TEXT NOT NULL,
    digest BYTEA NOT NULL, bytes BYTEA NOT NULL, UNIQUE (tenant_id, holder));
