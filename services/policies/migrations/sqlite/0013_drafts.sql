-- The pattern that a proposal answers to: it has one DRAFT of a kind. Empty: none.
ALTER TABLE proposals ADD COLUMN pattern TEXT NOT NULL DEFAULT '';
CREATE UNIQUE INDEX proposals_one_draft ON proposals (tenant_id, pattern, kind) WHERE state = 1 AND pattern <> '';
-- Which rules of the snapshot were evaluated; none: decided before it was kept.
ALTER TABLE decisions ADD COLUMN rules BLOB;
-- For how long an approval waits for its use and for the next level, as its tenant had it when it was asked for.
ALTER TABLE approvals ADD COLUMN use_within_s BIGINT NOT NULL DEFAULT 900;
ALTER TABLE approvals ADD COLUMN escalates_s BIGINT NOT NULL DEFAULT 300;
