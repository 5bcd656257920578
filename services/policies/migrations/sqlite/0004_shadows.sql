-- Shadows change by their version; what they saw never does. `refused` says why a decision was not decided again; 0: it
-- was. `step_index` -1: the start of the run.
CREATE TABLE shadows (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, shadow_id TEXT NOT NULL UNIQUE, state BIGINT NOT NULL,
    version BIGINT NOT NULL, base_digest BLOB NOT NULL, overlay BLOB NOT NULL, candidate_digest BLOB NOT NULL,
    sample_permille BIGINT NOT NULL, ends_at BIGINT NOT NULL, dropped BIGINT NOT NULL, actor_type BIGINT NOT NULL,
    actor_id TEXT NOT NULL, created_at BIGINT NOT NULL, stopped_at BIGINT NOT NULL);
CREATE INDEX shadows_by_tenant ON shadows (tenant_id, id);
CREATE INDEX shadows_active ON shadows (ends_at) WHERE state = 1;
CREATE TABLE shadow_decisions (
    id INTEGER PRIMARY KEY, shadow_key BIGINT NOT NULL, step_index BIGINT NOT NULL,
    decision_id TEXT NOT NULL, run_id TEXT NOT NULL, attempt BIGINT NOT NULL, refused BIGINT NOT NULL, detail TEXT NOT NULL,
    recorded BIGINT NOT NULL, candidate BIGINT NOT NULL, recorded_code TEXT NOT NULL, recorded_rule TEXT NOT NULL,
    candidate_code TEXT NOT NULL, candidate_rule TEXT NOT NULL, counterfactual BIGINT NOT NULL, agent_id TEXT NOT NULL,
    resource TEXT NOT NULL, UNIQUE (shadow_key, run_id, attempt, decision_id));
