-- Buckets and slots hang on the envelope row of their limit and scope id: it is the one lock of both.
-- level: nano-tokens at `filled_at`.
CREATE TABLE buckets (
    envelope_key INTEGER PRIMARY KEY,
    level BIGINT NOT NULL,
    filled_at BIGINT NOT NULL
);

-- step_index -1 is the slot of the run itself.
CREATE TABLE slots (
    envelope_key BIGINT NOT NULL,
    run_key BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    taken_at BIGINT NOT NULL,
    PRIMARY KEY (envelope_key, run_key, step_index)
);
CREATE INDEX slots_of_run ON slots (run_key, step_index);

-- What a step took of buckets of tokens, to be corrected when it is settled.
CREATE TABLE rate_takes (
    run_key BIGINT NOT NULL,
    step_index BIGINT NOT NULL,
    ask BIGINT NOT NULL,
    envelope_key BIGINT NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (run_key, step_index, ask, envelope_key)
);

-- Every set of limits that an admission was stamped with.
CREATE TABLE control_sets (
    digest BLOB NOT NULL,
    tenant_id TEXT NOT NULL,
    content TEXT NOT NULL,
    first_used_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, digest)
);

ALTER TABLE limits ADD COLUMN category BIGINT NOT NULL DEFAULT 1;
