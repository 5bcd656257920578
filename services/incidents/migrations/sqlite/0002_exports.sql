-- Exports of incidents: what was frozen for each, and how it ended. The export itself is a serialized IncidentExport as
-- it was when its part was frozen; what it became stands at its end.
CREATE TABLE incident_exports (
    id          INTEGER PRIMARY KEY,
    export_id   TEXT   NOT NULL,
    tenant_id   TEXT   NOT NULL,
    incident_id TEXT   NOT NULL REFERENCES incidents (id),
    export      BLOB NOT NULL,
    part        BLOB NOT NULL
);
CREATE UNIQUE INDEX incident_exports_id ON incident_exports (tenant_id, export_id);
CREATE INDEX incident_exports_incident ON incident_exports (tenant_id, incident_id, id);

-- state: 2 COMPLETED, 3 FAILED. One an export. missing: names, one a line.
CREATE TABLE incident_export_ends (
    id                INTEGER PRIMARY KEY,
    tenant_id         TEXT   NOT NULL,
    export_id         TEXT   NOT NULL,
    state             BIGINT NOT NULL CHECK (state IN (2, 3)),
    content_export_id TEXT   NOT NULL,
    content_digest    BLOB NOT NULL,
    content_size      BIGINT NOT NULL,
    reason            TEXT   NOT NULL,
    missing           TEXT   NOT NULL,
    actor_type        BIGINT NOT NULL,
    actor_id          TEXT   NOT NULL,
    at                BIGINT NOT NULL,
    CHECK ((state = 2) = (content_export_id <> '' AND content_size > 0)),
    CHECK ((state = 3) = (reason <> ''))
);
CREATE UNIQUE INDEX incident_export_ends_once ON incident_export_ends (tenant_id, export_id);
