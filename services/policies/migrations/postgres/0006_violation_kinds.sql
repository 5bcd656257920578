-- What lists of violations are narrowed by; 0: stored before lists were.
ALTER TABLE violations ADD COLUMN kind BIGINT NOT NULL DEFAULT 0;
ALTER TABLE violations ADD COLUMN severity BIGINT NOT NULL DEFAULT 0;
CREATE INDEX violations_by_violation ON violations (violation_id);
