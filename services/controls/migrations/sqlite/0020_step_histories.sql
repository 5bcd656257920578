-- What the last 200 recorded steps of one agent, kind and resource used: "cost:input:output:duration", oldest first, with
-- spaces between. Estimates of later steps are made of it; it is no account, and is written behind.
CREATE TABLE step_histories (
    history_key INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    kind BIGINT NOT NULL,
    resource TEXT NOT NULL,
    steps TEXT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (tenant_id, agent_id, kind, resource)
);
CREATE INDEX step_histories_updated ON step_histories (updated_at);
