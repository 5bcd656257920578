-- What a guardrail that counts outcomes has counted. counts: "second:steps:failed" of the last 300 s, with spaces between.
CREATE TABLE guardrail_states (
    envelope_key INTEGER PRIMARY KEY,
    counts TEXT NOT NULL,
    counted_at BIGINT NOT NULL
);

-- A guardrail that freezes has tripped. freeze_id is empty until the freeze is committed: a transaction that admits holds
-- the epoch shared, and can't raise it.
CREATE TABLE guardrail_trips (
    trip_key INTEGER PRIMARY KEY,
    breach_id TEXT NOT NULL UNIQUE,
    tenant_id TEXT NOT NULL,
    guardrail BIGINT NOT NULL,
    scope_id TEXT NOT NULL,
    value BIGINT NOT NULL,
    limit_value BIGINT NOT NULL,
    tripped_at BIGINT NOT NULL,
    freeze_until BIGINT NOT NULL,
    freeze_id TEXT NOT NULL
);
CREATE INDEX guardrail_trips_open ON guardrail_trips (trip_key) WHERE freeze_id = '';
