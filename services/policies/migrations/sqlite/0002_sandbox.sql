-- Back-tests change by their version; what they find never does. A claim is one worker's attempt at it: what an
-- attempt that broke off had found is not read.
CREATE TABLE backtests (
    id INTEGER PRIMARY KEY, tenant_id TEXT NOT NULL, backtest_id TEXT NOT NULL UNIQUE, state BIGINT NOT NULL,
    version BIGINT NOT NULL, base_digest BLOB NOT NULL, overlay BLOB NOT NULL, candidate_digest BLOB NOT NULL,
    since BIGINT NOT NULL, until BIGINT NOT NULL, range_body BLOB NOT NULL, examined BIGINT NOT NULL, total BIGINT NOT NULL,
    claim BIGINT NOT NULL, lease_until BIGINT NOT NULL, report BLOB NOT NULL, error TEXT NOT NULL,
    actor_type BIGINT NOT NULL, actor_id TEXT NOT NULL, created_at BIGINT NOT NULL, started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL);
CREATE INDEX backtests_by_tenant ON backtests (tenant_id, id);
CREATE INDEX backtests_open ON backtests (state, lease_until) WHERE state <= 2;
CREATE TABLE backtest_diffs (
    id INTEGER PRIMARY KEY, backtest_key BIGINT NOT NULL, claim BIGINT NOT NULL, decision_id TEXT NOT NULL,
    run_id TEXT NOT NULL, attempt BIGINT NOT NULL, step_index BIGINT NOT NULL, recorded BIGINT NOT NULL,
    candidate BIGINT NOT NULL, recorded_code TEXT NOT NULL, recorded_rule TEXT NOT NULL, candidate_code TEXT NOT NULL,
    candidate_rule TEXT NOT NULL, counterfactual BIGINT NOT NULL, agent_id TEXT NOT NULL, resource TEXT NOT NULL);
CREATE INDEX backtest_diffs_by_backtest ON backtest_diffs (backtest_key, claim, id);
-- Ranges of time over the runs of a tenant.
CREATE INDEX run_states_by_time ON run_states (tenant_id, bound_at, id);
