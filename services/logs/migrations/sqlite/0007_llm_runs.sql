-- What an attempt used of language models: one row an attempt, written with its seal.
CREATE TABLE llm_run_records (
    id               INTEGER PRIMARY KEY,
    tenant_id        TEXT NOT NULL,
    run_id           TEXT NOT NULL,
    attempt          BIGINT NOT NULL,
    provider         TEXT NOT NULL,
    model            TEXT NOT NULL,
    execution_status BIGINT NOT NULL,
    source           BIGINT NOT NULL,
    is_synthetic     BIGINT NOT NULL,
    completed_at     BIGINT NOT NULL,
    record           BLOB NOT NULL
);
CREATE UNIQUE INDEX llm_run_records_key ON llm_run_records (tenant_id, run_id, attempt);
CREATE INDEX llm_run_records_time ON llm_run_records (tenant_id, completed_at, id);
CREATE INDEX llm_run_records_model ON llm_run_records (tenant_id, provider, model);
CREATE INDEX llm_run_records_status ON llm_run_records (tenant_id, execution_status);
