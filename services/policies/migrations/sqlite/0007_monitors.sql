-- What sequence rules know of the steps so far: one row for a run, and one for each monitor that looks beyond one. The
-- digest is that of the bytes: a decision stands only if they still are what it was made with.
CREATE TABLE monitor_states (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, holder TEXT NOT NULL, digest BLOB NOT NULL, bytes BLOB NOT NULL,
    UNIQUE (tenant_id, holder));
