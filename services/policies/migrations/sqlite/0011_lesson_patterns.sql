-- What lessons of one pattern have in common; empty: stored before patterns were.
ALTER TABLE lessons ADD COLUMN signature TEXT NOT NULL DEFAULT '';
CREATE INDEX lessons_by_pattern ON lessons (tenant_id, signature);
CREATE INDEX lesson_sources_by_lesson ON lesson_sources (tenant_id, lesson_id);
