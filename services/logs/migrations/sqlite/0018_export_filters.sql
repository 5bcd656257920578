-- Which records an export of a table holds, as they were asked for, and the number of the last one that there was then.
ALTER TABLE exports ADD COLUMN filter BLOB NOT NULL DEFAULT x'';
ALTER TABLE exports ADD COLUMN up_to BIGINT NOT NULL DEFAULT 0;
