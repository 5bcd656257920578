-- What every store has. The one row of outbox_head is locked until the commit, so that numbers become visible in order.
CREATE TABLE outbox (
    seq BIGINT PRIMARY KEY,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    envelope BYTEA NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE outbox_head (seq BIGINT NOT NULL);

INSERT INTO outbox_head (seq) VALUES (0);

CREATE TABLE outbox_cursors (
    consumer TEXT PRIMARY KEY,
    acked BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE kept_answers (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    request_key TEXT NOT NULL,
    request_digest BYTEA NOT NULL,
    answer BYTEA NOT NULL,
    kept_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX kept_answers_key ON kept_answers (tenant_id, operation, request_key);

CREATE INDEX kept_answers_age ON kept_answers (kept_at);
