-- Rules: the head row changes by its revision; versions and transitions never do.
CREATE TABLE rules (
    tenant_id TEXT NOT NULL, rule_id TEXT NOT NULL, slug TEXT NOT NULL, mesh BIGINT NOT NULL,
    last_version BIGINT NOT NULL, active_version BIGINT NOT NULL, draft_version BIGINT NOT NULL,
    revision BIGINT NOT NULL, created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, rule_id), UNIQUE (tenant_id, mesh, slug));
CREATE TABLE rule_versions (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, rule_id TEXT NOT NULL, version BIGINT NOT NULL,
    name TEXT NOT NULL, description TEXT NOT NULL, meaning BLOB NOT NULL, rule_digest BLOB NOT NULL,
    mode BIGINT NOT NULL, scope BIGINT NOT NULL, category BIGINT NOT NULL, rule_type BIGINT NOT NULL,
    source BIGINT NOT NULL, parent_version BIGINT NOT NULL, author_type BIGINT NOT NULL, author_id TEXT NOT NULL,
    created_at BIGINT NOT NULL, UNIQUE (tenant_id, rule_id, version));
CREATE INDEX rule_versions_by_digest ON rule_versions (tenant_id, rule_digest);
CREATE TABLE rule_transitions (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, rule_id TEXT NOT NULL, version BIGINT NOT NULL,
    from_state BIGINT NOT NULL, to_state BIGINT NOT NULL, reason TEXT NOT NULL, successor TEXT NOT NULL,
    actor_type BIGINT NOT NULL, actor_id TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX rule_transitions_by_rule ON rule_transitions (tenant_id, rule_id, id);

-- Snapshots: bytes named by their digest; their state is the latest transition.
CREATE TABLE snapshots (
    id INTEGER PRIMARY KEY, snapshot_id TEXT NOT NULL, tenant_id TEXT NOT NULL, digest BLOB NOT NULL, bytes BLOB NOT NULL,
    rule_count BIGINT NOT NULL, created_at BIGINT NOT NULL, UNIQUE (tenant_id, digest));
CREATE TABLE snapshot_transitions (
    id INTEGER PRIMARY KEY, snapshot_key BIGINT NOT NULL, from_state BIGINT NOT NULL, to_state BIGINT NOT NULL,
    reason TEXT NOT NULL, at BIGINT NOT NULL);
CREATE INDEX snapshot_transitions_by_snapshot ON snapshot_transitions (snapshot_key, id);
CREATE TABLE snapshot_recalls (
    id INTEGER PRIMARY KEY, snapshot_key BIGINT NOT NULL UNIQUE, recall_id TEXT NOT NULL, directive BIGINT NOT NULL,
    reason TEXT NOT NULL, actor_id TEXT NOT NULL, runs_bound BIGINT NOT NULL, at BIGINT NOT NULL);
-- What is in force for a tenant, and from which versions of its layer and of the mesh's it was built.
CREATE TABLE layers (
    tenant_id TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL, snapshot_key BIGINT NOT NULL,
    mesh_version BIGINT NOT NULL);
CREATE TABLE settings (tenant_id TEXT NOT NULL PRIMARY KEY, version BIGINT NOT NULL, body BLOB NOT NULL);
CREATE TABLE setting_changes (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, version BIGINT NOT NULL, body BLOB NOT NULL, reason TEXT NOT NULL,
    actor_type BIGINT NOT NULL, actor_id TEXT NOT NULL, at BIGINT NOT NULL, UNIQUE (tenant_id, version));

-- Attempts under their interned key, and everything that is appended for them.
CREATE TABLE run_states (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, run_id TEXT NOT NULL, attempt BIGINT NOT NULL, snapshot_key BIGINT NOT NULL,
    principal BLOB NOT NULL, taints TEXT NOT NULL, taint_version BIGINT NOT NULL, bound_at BIGINT NOT NULL,
    UNIQUE (tenant_id, run_id, attempt));
CREATE INDEX run_states_by_snapshot ON run_states (snapshot_key);
-- step_index -1: the start of the run.
CREATE TABLE decisions (
    id INTEGER PRIMARY KEY, run_key BIGINT NOT NULL, step_index BIGINT NOT NULL, ask BIGINT NOT NULL, moment BIGINT NOT NULL,
    decision_id TEXT NOT NULL, verdict BIGINT NOT NULL, effective_verdict BIGINT NOT NULL,
    directive BIGINT NOT NULL, degraded BIGINT NOT NULL, plain BIGINT NOT NULL, code TEXT NOT NULL,
    request_digest BLOB NOT NULL, inputs_digest BLOB NOT NULL, answer BLOB NOT NULL,
    decided_at BIGINT NOT NULL, UNIQUE (run_key, step_index, ask));
CREATE INDEX decisions_by_decision ON decisions (decision_id);
CREATE TABLE decision_inputs (
    id INTEGER PRIMARY KEY, run_key BIGINT NOT NULL, step_index BIGINT NOT NULL, ask BIGINT NOT NULL, digest BLOB NOT NULL,
    bytes BLOB NOT NULL, UNIQUE (run_key, step_index, ask));
CREATE TABLE enforcements (
    id INTEGER PRIMARY KEY, run_key BIGINT NOT NULL, step_index BIGINT NOT NULL, enforcement_id TEXT NOT NULL,
    decision_id TEXT NOT NULL, rule_id TEXT NOT NULL, version BIGINT NOT NULL, action BIGINT NOT NULL,
    would_outcome BIGINT NOT NULL, at BIGINT NOT NULL, UNIQUE (run_key, decision_id, rule_id));
CREATE INDEX enforcements_by_rule ON enforcements (rule_id, id);
CREATE TABLE step_facts (
    id INTEGER PRIMARY KEY, run_key BIGINT NOT NULL, seq BIGINT NOT NULL, step_index BIGINT NOT NULL, authorized BIGINT NOT NULL,
    digest BLOB NOT NULL, bytes BLOB NOT NULL, UNIQUE (run_key, seq));
CREATE TABLE violations (
    id INTEGER PRIMARY KEY, run_key BIGINT NOT NULL, step_index BIGINT NOT NULL, rule_id TEXT NOT NULL, rule_code TEXT NOT NULL,
    violation_id TEXT NOT NULL, body BLOB NOT NULL, recorded_at BIGINT NOT NULL,
    UNIQUE (run_key, rule_id, rule_code, step_index));
CREATE TABLE evaluations (
    id INTEGER PRIMARY KEY, evaluation_id TEXT NOT NULL UNIQUE, tenant_id TEXT NOT NULL, run_id TEXT NOT NULL,
    attempt BIGINT NOT NULL, revision BIGINT NOT NULL, outcome BIGINT NOT NULL, request_digest BLOB NOT NULL,
    body BLOB NOT NULL, evaluated_at BIGINT NOT NULL, UNIQUE (tenant_id, run_id, attempt, revision));
CREATE TABLE evaluation_supersessions (
    id INTEGER PRIMARY KEY, evaluation_id TEXT NOT NULL UNIQUE, tenant_id TEXT NOT NULL, supersession_id TEXT NOT NULL,
    request_digest BLOB NOT NULL, reason TEXT NOT NULL, saga_id TEXT NOT NULL, at BIGINT NOT NULL);
