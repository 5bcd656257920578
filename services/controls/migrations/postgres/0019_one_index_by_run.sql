-- What is written for a step has one index that begins with its run: that of the evidence, which names the hold. Holds
-- and entries are found by the hold's id, so that a commit for many runs writes few pages of them.
DROP TRIGGER IF EXISTS evidence_append_only_update ON evidence;
ALTER TABLE evidence ADD COLUMN hold_id TEXT;
UPDATE evidence SET hold_id = h.hold_id FROM holds h
    WHERE h.run_key = evidence.run_key AND h.step_index = evidence.step_index AND h.ask = evidence.ask;

-- The hold that an entry was booked for; none: it is of the run as a whole, or of no run.
DROP TRIGGER IF EXISTS budget_entries_append_only_update ON budget_entries;
ALTER TABLE budget_entries ADD COLUMN hold_id TEXT;
UPDATE budget_entries SET hold_id = h.hold_id FROM holds h
    WHERE h.run_key = budget_entries.run_key AND h.step_index = budget_entries.step_index AND h.ask = budget_entries.ask;
DROP INDEX budget_entries_of_run;
CREATE INDEX budget_entries_of_hold ON budget_entries (hold_id) WHERE hold_id IS NOT NULL;
CREATE INDEX budget_entries_of_run ON budget_entries (run_key) WHERE hold_id IS NULL;
CREATE INDEX budget_entries_of_settlement ON budget_entries (settlement_id) WHERE settlement_id IS NOT NULL;

ALTER TABLE holds DROP CONSTRAINT holds_pkey;
ALTER TABLE holds DROP CONSTRAINT holds_hold_id_key;
ALTER TABLE holds ADD PRIMARY KEY (hold_id);
-- A step that was recorded without a hold has no evidence that names one.
CREATE UNIQUE INDEX holds_unreserved ON holds (run_key, step_index) WHERE ask = -1;
