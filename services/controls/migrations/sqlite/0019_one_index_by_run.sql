-- What is written for a step has one index that begins with its run: that of the evidence, which names the hold. Holds
-- and entries are found by the hold's id, so that a commit for many runs writes few pages of them.
DROP TRIGGER IF EXISTS evidence_append_only_update;
ALTER TABLE evidence ADD COLUMN hold_id TEXT;
UPDATE evidence SET hold_id = h.hold_id FROM holds h
    WHERE h.run_key = evidence.run_key AND h.step_index = evidence.step_index AND h.ask = evidence.ask;

-- The hold that an entry was booked for; none: it is of the run as a whole, or of no run.
DROP TRIGGER IF EXISTS budget_entries_append_only_update;
ALTER TABLE budget_entries ADD COLUMN hold_id TEXT;
UPDATE budget_entries SET hold_id = h.hold_id FROM holds h
    WHERE h.run_key = budget_entries.run_key AND h.step_index = budget_entries.step_index AND h.ask = budget_entries.ask;
DROP INDEX budget_entries_of_run;
CREATE INDEX budget_entries_of_hold ON budget_entries (hold_id) WHERE hold_id IS NOT NULL;
CREATE INDEX budget_entries_of_run ON budget_entries (run_key) WHERE hold_id IS NULL;
CREATE INDEX budget_entries_of_settlement ON budget_entries (settlement_id) WHERE settlement_id IS NOT NULL;

CREATE TABLE holds_by_id (
    hold_id TEXT PRIMARY KEY,
    run_key BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    ask BIGINT NOT NULL,
    state BIGINT NOT NULL,
    cost_microusd BIGINT NOT NULL,
    tokens_input BIGINT NOT NULL,
    tokens_output BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    source BIGINT NOT NULL,
    extensions BIGINT NOT NULL,
    ambiguous BIGINT NOT NULL,
    released_for BIGINT,
    settle_digest BLOB,
    settle_answer BLOB
) WITHOUT ROWID;
INSERT INTO holds_by_id (hold_id, run_key, step_index, ask, state, cost_microusd, tokens_input, tokens_output, duration_ms,
        source, extensions, ambiguous, released_for, settle_digest, settle_answer)
    SELECT hold_id, run_key, step_index, ask, state, cost_microusd, tokens_input, tokens_output, duration_ms,
        source, extensions, ambiguous, released_for, settle_digest, settle_answer FROM holds ORDER BY hold_id;
DROP TABLE holds;
ALTER TABLE holds_by_id RENAME TO holds;
CREATE INDEX holds_active ON holds (run_key) WHERE state = 1;
-- A step that was recorded without a hold has no evidence that names one.
CREATE UNIQUE INDEX holds_unreserved ON holds (run_key, step_index) WHERE ask = -1;
