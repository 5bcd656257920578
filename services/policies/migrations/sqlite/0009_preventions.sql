-- What rules prevented that were learned from something. `of` is the row that an outcome corrects; empty: none.
CREATE TABLE preventions (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, prevention_id TEXT NOT NULL UNIQUE, decision_id TEXT NOT NULL,
    rule_id TEXT NOT NULL, version BIGINT NOT NULL, signature TEXT NOT NULL, run_id TEXT NOT NULL, attempt BIGINT NOT NULL,
    step_index BIGINT NOT NULL, outcome BIGINT NOT NULL, incident_id TEXT NOT NULL, of_prevention TEXT NOT NULL,
    is_synthetic BIGINT NOT NULL, at BIGINT NOT NULL, UNIQUE (decision_id, rule_id, outcome));
CREATE INDEX preventions_by_tenant ON preventions (tenant_id, id);
CREATE INDEX preventions_by_run ON preventions (tenant_id, run_id, attempt);
