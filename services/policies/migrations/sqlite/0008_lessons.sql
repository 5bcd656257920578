-- Lessons change by their version; what happened to them never does. due_at: when time takes one up again, as long as it
-- is put off. A slot is what repeats are counted together by: its row is the lock of it.
CREATE TABLE lessons (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, lesson_id TEXT NOT NULL UNIQUE, type BIGINT NOT NULL,
    state BIGINT NOT NULL, severity BIGINT NOT NULL, band BIGINT NOT NULL, is_synthetic BIGINT NOT NULL,
    due_at BIGINT NOT NULL, version BIGINT NOT NULL, body BLOB NOT NULL, created_at BIGINT NOT NULL);
CREATE INDEX lessons_by_tenant ON lessons (tenant_id, id);
CREATE INDEX lessons_due ON lessons (due_at) WHERE state = 3;
CREATE TABLE lesson_transitions (
    id INTEGER PRIMARY KEY, lesson_key BIGINT NOT NULL, from_state BIGINT NOT NULL, to_state BIGINT NOT NULL,
    reason TEXT NOT NULL, actor_type BIGINT NOT NULL, actor_id TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX lesson_transitions_by_lesson ON lesson_transitions (lesson_key, id);
CREATE TABLE lesson_sources (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, source_key TEXT NOT NULL, lesson_id TEXT NOT NULL, at BIGINT NOT NULL,
    UNIQUE (tenant_id, source_key));
CREATE TABLE lesson_slots (
    tenant_id TEXT NOT NULL, slot TEXT NOT NULL, lesson_id TEXT NOT NULL, until BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, slot));
-- Proposals change by their version; what was said of them never does. source: what a proposal was made of, if anything.
CREATE TABLE proposals (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, proposal_id TEXT NOT NULL UNIQUE, state BIGINT NOT NULL,
    kind BIGINT NOT NULL, source TEXT, run_id TEXT NOT NULL, version BIGINT NOT NULL, body BLOB NOT NULL,
    due_at BIGINT NOT NULL, UNIQUE (tenant_id, source));
CREATE INDEX proposals_by_tenant ON proposals (tenant_id, id);
CREATE INDEX proposals_open ON proposals (due_at) WHERE state = 1;
CREATE TABLE proposal_reviews (
    id INTEGER PRIMARY KEY, proposal_key BIGINT NOT NULL, revision BIGINT NOT NULL, outcome BIGINT NOT NULL,
    note TEXT NOT NULL, backtest_id TEXT NOT NULL, actor_type BIGINT NOT NULL, actor_id TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX proposal_reviews_by_proposal ON proposal_reviews (proposal_key, id);
-- What a version was made of; empty: somebody wrote it.
ALTER TABLE rule_versions ADD COLUMN proposal_id TEXT NOT NULL DEFAULT '';
ALTER TABLE rule_versions ADD COLUMN lesson_id TEXT NOT NULL DEFAULT '';
