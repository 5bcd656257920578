-- What other domains gave to an export: that they did stays, what they gave goes when the export is made or given up.
-- status: 1 OK, 2 ERROR, 3 TIMEOUT, 4 DENIED.
CREATE TABLE export_parts (
    id        INTEGER PRIMARY KEY,
    export_id TEXT NOT NULL,
    source    TEXT NOT NULL,
    status    BIGINT NOT NULL,
    reason    TEXT NOT NULL,
    items     BIGINT NOT NULL,
    digest    BLOB NOT NULL,
    added_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX export_parts_source ON export_parts (export_id, source);

-- The pieces of a part as they came.
CREATE TABLE export_items (
    id        INTEGER PRIMARY KEY,
    export_id TEXT NOT NULL,
    source    TEXT NOT NULL,
    item      BIGINT NOT NULL,
    piece     BLOB NOT NULL
);
CREATE UNIQUE INDEX export_items_item ON export_items (export_id, source, item);
