-- What every store has. Numbers of the outbox are never given twice, even when sent events are pruned.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    envelope BLOB NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE outbox_cursors (
    consumer TEXT PRIMARY KEY,
    acked BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- The integer key keeps inserts at the end of the table; the unique index finds the answer.
CREATE TABLE kept_answers (
    id INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    request_key TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    answer BLOB NOT NULL,
    kept_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX kept_answers_key ON kept_answers (tenant_id, operation, request_key);

CREATE INDEX kept_answers_age ON kept_answers (kept_at);
