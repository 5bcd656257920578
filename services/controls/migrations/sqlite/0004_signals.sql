-- run_key 0: no run. source is the id of a limit, or the key of a default. window is the begin of a budget's period, else 0.
CREATE TABLE signals (
    signal_key INTEGER PRIMARY KEY,
    signal_id TEXT NOT NULL,
    tenant_id TEXT NOT NULL,
    run_key BIGINT NOT NULL,
    type BIGINT NOT NULL,
    source TEXT NOT NULL,
    level BIGINT NOT NULL,
    window_start BIGINT NOT NULL,
    metric TEXT NOT NULL,
    unit BIGINT NOT NULL,
    current BIGINT NOT NULL,
    limit_value BIGINT NOT NULL,
    permille BIGINT NOT NULL,
    step_index BIGINT,
    raised_at BIGINT NOT NULL,
    UNIQUE (run_key, type, source, level, window_start, tenant_id)
);
CREATE INDEX signals_of_tenant ON signals (tenant_id, signal_key);

CREATE TABLE breach_recoveries (
    breach_id TEXT PRIMARY KEY,
    cause TEXT NOT NULL,
    recovered_at BIGINT NOT NULL
);

CREATE TABLE breach_incidents (
    breach_id TEXT PRIMARY KEY,
    incident_id TEXT NOT NULL,
    linked_at BIGINT NOT NULL
);

-- Failed steps in a row, up to now.
ALTER TABLE run_leases ADD COLUMN failed_in_row BIGINT NOT NULL DEFAULT 0;
CREATE INDEX breaches_of_tenant ON breaches (tenant_id, breach_id);
