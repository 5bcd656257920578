-- step_index -1: the start of the run. due_at: when time does the next thing to it, as long as it is not final.
CREATE TABLE approvals (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, approval_id TEXT NOT NULL UNIQUE, run_key BIGINT NOT NULL,
    run_id TEXT NOT NULL, attempt BIGINT NOT NULL, step_index BIGINT NOT NULL, decision_id TEXT NOT NULL,
    action_digest BLOB NOT NULL, deed_digest BLOB NOT NULL, snapshot_digest BLOB NOT NULL, rules TEXT NOT NULL,
    agent_id TEXT NOT NULL, owner_id TEXT NOT NULL, human_id TEXT NOT NULL, quorum BIGINT NOT NULL,
    state BIGINT NOT NULL, level BIGINT NOT NULL, escalations BIGINT NOT NULL, created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL, escalates_at BIGINT NOT NULL, use_by BIGINT, due_at BIGINT NOT NULL,
    version BIGINT NOT NULL);
CREATE UNIQUE INDEX approvals_one_open ON approvals (run_key, step_index, action_digest, snapshot_digest)
    WHERE state IN (1, 2);
CREATE INDEX approvals_by_run ON approvals (run_key, id);
CREATE INDEX approvals_by_tenant ON approvals (tenant_id, id);
CREATE INDEX approvals_open ON approvals (tenant_id) WHERE state IN (1, 2);
CREATE INDEX approvals_due ON approvals (due_at) WHERE state IN (1, 2, 3);
CREATE TABLE approval_votes (
    id INTEGER PRIMARY KEY, approval_key BIGINT NOT NULL, voter_id TEXT NOT NULL, kind BIGINT NOT NULL,
    level BIGINT NOT NULL, action_digest BLOB NOT NULL, note TEXT NOT NULL, at BIGINT NOT NULL,
    UNIQUE (approval_key, voter_id));
CREATE TABLE approval_uses (
    id INTEGER PRIMARY KEY, approval_key BIGINT NOT NULL UNIQUE, decision_id TEXT NOT NULL, at BIGINT NOT NULL);
CREATE TABLE approval_transitions (
    id INTEGER PRIMARY KEY, approval_key BIGINT NOT NULL, from_state BIGINT NOT NULL, to_state BIGINT NOT NULL,
    level BIGINT NOT NULL, reason TEXT NOT NULL, actor_type BIGINT NOT NULL, actor_id TEXT NOT NULL,
    at BIGINT NOT NULL);
CREATE INDEX approval_transitions_by_approval ON approval_transitions (approval_key, id);
