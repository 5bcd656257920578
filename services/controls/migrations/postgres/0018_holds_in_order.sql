-- What hangs on a hold is found by the hold's id. Ids rise with time, so that rows of holds that live now lie together,
-- and a commit for many runs writes few pages; by run each would have touched pages of its own.
CREATE TABLE lines_of_holds (
    hold_id TEXT NOT NULL,
    envelope_key BIGINT NOT NULL,
    period_start BIGINT NOT NULL,
    amount BIGINT NOT NULL,
    unfunded BIGINT NOT NULL,
    PRIMARY KEY (hold_id, envelope_key)
);
INSERT INTO lines_of_holds (hold_id, envelope_key, period_start, amount, unfunded)
    SELECT h.hold_id, n.envelope_key, n.period_start, n.amount, n.unfunded FROM hold_lines n
    JOIN holds h ON h.run_key = n.run_key AND h.step_index = n.step_index AND h.ask = n.ask
    ORDER BY h.hold_id, n.envelope_key;
DROP TABLE hold_lines;
ALTER TABLE lines_of_holds RENAME TO hold_lines;

-- seq: 0 begins a hold, 1 to 16 extend it, 99 ends it. The key is why a hold ends once.
CREATE TABLE transitions_of_holds (
    hold_id TEXT NOT NULL,
    seq BIGINT NOT NULL,
    from_state BIGINT NOT NULL,
    to_state BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (hold_id, seq)
);
INSERT INTO transitions_of_holds (hold_id, seq, from_state, to_state, at)
    SELECT h.hold_id, t.seq, t.from_state, t.to_state, t.at FROM hold_transitions t
    JOIN holds h ON h.run_key = t.run_key AND h.step_index = t.step_index AND h.ask = t.ask
    ORDER BY h.hold_id, t.seq;
DROP TABLE hold_transitions;
ALTER TABLE transitions_of_holds RENAME TO hold_transitions;
