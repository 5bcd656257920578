-- What the body of a version was made from, as JSON; empty: somebody wrote it.
ALTER TABLE rule_versions ADD COLUMN template TEXT NOT NULL DEFAULT '';
