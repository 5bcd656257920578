-- As alert_settings: the message that shows them, and a row to lock.
CREATE TABLE costsim_settings (
    tenant_id TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    body BYTEA NOT NULL
);
