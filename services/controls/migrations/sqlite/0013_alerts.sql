-- Settings of a tenant are the message that shows them; version 0 with an empty body: nobody has set anything, and the
-- row is only what decisions of the tenant lock.
CREATE TABLE alert_settings (
    tenant_id TEXT PRIMARY KEY,
    version BIGINT NOT NULL,
    body BLOB NOT NULL
);

-- counts: 1 when no stage objected and it was not CRITICAL. run_count, key_at, unresolved, cooling_until and pending are
-- what the next decision of the same run and type, key, tenant and type begins with: the latest row has them.
CREATE TABLE alert_decisions (
    decision_key INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    scope TEXT NOT NULL,
    limit_id TEXT NOT NULL,
    agent_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    severity BIGINT NOT NULL,
    domain TEXT NOT NULL,
    proximity_permille BIGINT,
    resolves BIGINT NOT NULL,
    finding BIGINT NOT NULL,
    result BIGINT NOT NULL,
    mode BIGINT NOT NULL,
    count BIGINT NOT NULL,
    counts BIGINT NOT NULL,
    run_count BIGINT NOT NULL,
    key_at BIGINT,
    unresolved BIGINT NOT NULL,
    cooling_until BIGINT,
    pending BIGINT NOT NULL,
    at BIGINT NOT NULL,
    UNIQUE (tenant_id, event_id)
);
CREATE INDEX alert_decisions_of_tenant ON alert_decisions (tenant_id, decision_key);
CREATE INDEX alert_decisions_of_kind ON alert_decisions (tenant_id, kind, decision_key);
CREATE INDEX alert_decisions_of_key ON alert_decisions (tenant_id, scope, limit_id, agent_id, decision_key);
CREATE INDEX alert_decisions_passed
    ON alert_decisions (tenant_id, kind, run_id, scope, limit_id, decision_key) WHERE finding = 1;
CREATE INDEX alert_decisions_counting ON alert_decisions (tenant_id, decision_key) WHERE counts = 1;
CREATE INDEX alert_decisions_counting_of_kind ON alert_decisions (tenant_id, kind, decision_key) WHERE counts = 1;
CREATE INDEX alert_decisions_counting_of_key
    ON alert_decisions (tenant_id, scope, limit_id, agent_id, domain, decision_key) WHERE counts = 1;
