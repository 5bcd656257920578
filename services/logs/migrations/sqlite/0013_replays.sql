CREATE TABLE replays (
    id         INTEGER PRIMARY KEY,
    replay_id  TEXT NOT NULL,
    tenant_id  TEXT NOT NULL,
    trace_key  BIGINT NOT NULL REFERENCES traces (trace_key) ON DELETE RESTRICT,
    run_id     TEXT NOT NULL,
    attempt    BIGINT NOT NULL,
    -- The order: StartReplayRequest.
    ordered    BLOB NOT NULL,
    seal       BLOB NOT NULL,
    started_by TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX replays_id ON replays (replay_id);
CREATE INDEX replays_tenant ON replays (tenant_id, started_at, id);
CREATE INDEX replays_run ON replays (tenant_id, run_id, started_at, id);

-- What was reported and found of a step: ReplayCheck. A step may be reported again; both stay.
CREATE TABLE replay_checks (
    id         INTEGER PRIMARY KEY,
    replay_id  TEXT NOT NULL,
    step_index BIGINT NOT NULL,
    checked    BLOB NOT NULL,
    at         BIGINT NOT NULL
);
CREATE INDEX replay_checks_replay ON replay_checks (replay_id, id);

-- How a replay ended: Replay. One a replay.
CREATE TABLE replay_ends (
    id        INTEGER PRIMARY KEY,
    replay_id TEXT NOT NULL,
    result    BIGINT NOT NULL,
    finished  BLOB NOT NULL,
    at        BIGINT NOT NULL
);
CREATE UNIQUE INDEX replay_ends_replay ON replay_ends (replay_id);

-- Replays that take steps: a working row, which goes when its replay ends.
CREATE TABLE replay_open (
    id         INTEGER PRIMARY KEY,
    replay_id  TEXT NOT NULL,
    tenant_id  TEXT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX replay_open_replay ON replay_open (replay_id);
CREATE INDEX replay_open_age ON replay_open (expires_at);

-- What input a key stands for, while that is remembered.
CREATE TABLE replay_keys (
    id           INTEGER PRIMARY KEY,
    tenant_id    TEXT NOT NULL,
    replay_key   TEXT NOT NULL,
    input_digest BLOB NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX replay_keys_key ON replay_keys (tenant_id, replay_key);
CREATE INDEX replay_keys_age ON replay_keys (expires_at);

ALTER TABLE mismatches ADD COLUMN replay_id TEXT NOT NULL DEFAULT '';
ALTER TABLE certificates ADD COLUMN replay_id TEXT NOT NULL DEFAULT '';
