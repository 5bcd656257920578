-- What the incidents domain owns. Numbers are those of runspine.incidents.v1; an empty text means "none".

CREATE TABLE incidents (
    id                    TEXT   NOT NULL PRIMARY KEY,
    tenant_id             TEXT   NOT NULL,
    seq                   BIGINT NOT NULL CHECK (seq >= 1),
    project_id            TEXT   NOT NULL,
    title                 TEXT   NOT NULL,
    description           TEXT   NOT NULL,
    severity              BIGINT NOT NULL CHECK (severity BETWEEN 1 AND 4),
    category              BIGINT NOT NULL CHECK (category BETWEEN 1 AND 12),
    trigger_type          BIGINT NOT NULL CHECK (trigger_type BETWEEN 1 AND 17),
    source                BIGINT NOT NULL CHECK (source BETWEEN 1 AND 9),
    cause_type            BIGINT NOT NULL CHECK (cause_type BETWEEN 1 AND 3),
    cause_code            TEXT   NOT NULL,
    status                BIGINT NOT NULL CHECK (status BETWEEN 1 AND 5),
    version               BIGINT NOT NULL CHECK (version >= 1),
    event_count           BIGINT NOT NULL CHECK (event_count >= 0),
    dedup_key             TEXT   NOT NULL,
    -- The grouping key while a report may join, NULL afterwards: the unique index lets two arrivals open one only.
    open_key              TEXT   CHECK (open_key IS NULL OR (open_key = dedup_key AND status IN (1, 2))),
    source_run_id         TEXT   NOT NULL,
    source_attempt        BIGINT NOT NULL,
    source_step_index     BIGINT,
    affected_agent_id     TEXT   NOT NULL,
    rule_id               TEXT   NOT NULL,
    scope_id              TEXT   NOT NULL,
    occurrence_count      BIGINT NOT NULL CHECK (occurrence_count >= 0),
    cost_impact_microusd  BIGINT NOT NULL CHECK (cost_impact_microusd >= 0),
    error_message         TEXT   NOT NULL,
    opened_at             BIGINT NOT NULL,
    last_occurrence_at    BIGINT NOT NULL,
    acknowledged_at       BIGINT,
    acknowledged_by       TEXT   NOT NULL,
    resolved_at           BIGINT,
    resolved_by           TEXT   NOT NULL,
    resolution_method     BIGINT CHECK (resolution_method BETWEEN 1 AND 3),
    resolution_type       BIGINT CHECK (resolution_type BETWEEN 1 AND 5),
    resolution_summary    TEXT   NOT NULL,
    closed_reason         BIGINT CHECK (closed_reason BETWEEN 1 AND 4),
    assignee              TEXT   NOT NULL,
    recurrence_signature  TEXT   NOT NULL,
    signature_version     BIGINT NOT NULL,
    tool_name             TEXT   NOT NULL,
    is_synthetic          BIGINT NOT NULL CHECK (is_synthetic IN (0, 1)),
    synthetic_scenario_id TEXT   NOT NULL,
    aware_at              BIGINT,
    updated_at            BIGINT NOT NULL,
    CHECK (status NOT IN (1, 2) OR resolved_at IS NULL),
    CHECK (status NOT IN (3, 4) OR resolved_at IS NOT NULL),
    CHECK (status <> 2 OR acknowledged_at IS NOT NULL)
);
CREATE UNIQUE INDEX incidents_open_key ON incidents (tenant_id, open_key);
CREATE UNIQUE INDEX incidents_seq ON incidents (tenant_id, seq);
CREATE INDEX incidents_by_dedup_key ON incidents (tenant_id, dedup_key, seq);
CREATE INDEX incidents_by_opened ON incidents (tenant_id, opened_at, id);
CREATE INDEX incidents_by_severity ON incidents (tenant_id, severity, opened_at, id);
CREATE INDEX incidents_by_last_occurrence ON incidents (tenant_id, last_occurrence_at, id);
CREATE INDEX incidents_by_resolved ON incidents (tenant_id, resolved_at, id);

CREATE TABLE incident_occurrences (
    id            TEXT   NOT NULL PRIMARY KEY,
    tenant_id     TEXT   NOT NULL,
    incident_id   TEXT   NOT NULL REFERENCES incidents (id),
    run_id        TEXT   NOT NULL,
    attempt       BIGINT NOT NULL,
    cause_code    TEXT   NOT NULL,
    -- The fact that reported it; empty for the outcome of the attempt.
    fact_id       TEXT   NOT NULL,
    step_index    BIGINT,
    tool_name     TEXT   NOT NULL,
    occurred_at   BIGINT NOT NULL,
    recorded_at   BIGINT NOT NULL,
    cost_microusd BIGINT NOT NULL CHECK (cost_microusd >= 0),
    overflow      BIGINT NOT NULL CHECK (overflow IN (0, 1))
);
CREATE UNIQUE INDEX occurrences_once ON incident_occurrences (tenant_id, run_id, attempt, cause_code, fact_id);
CREATE INDEX occurrences_by_incident ON incident_occurrences (tenant_id, incident_id, id);

CREATE TABLE occurrence_voids (
    id            TEXT   NOT NULL PRIMARY KEY,
    tenant_id     TEXT   NOT NULL,
    run_id        TEXT   NOT NULL,
    attempt       BIGINT NOT NULL,
    cause_code    TEXT   NOT NULL,
    incident_id   TEXT   NOT NULL,
    -- Empty: the report that was to be undone had not arrived, and is refused when it does.
    occurrence_id TEXT   NOT NULL,
    reason        TEXT   NOT NULL,
    actor_type    BIGINT NOT NULL,
    actor_id      TEXT   NOT NULL,
    voided_at     BIGINT NOT NULL
);
CREATE UNIQUE INDEX voids_once ON occurrence_voids (tenant_id, run_id, attempt, occurrence_id, cause_code, incident_id);

CREATE TABLE run_outcomes (
    tenant_id      TEXT   NOT NULL,
    run_id         TEXT   NOT NULL,
    attempt        BIGINT NOT NULL CHECK (attempt >= 1),
    status         BIGINT NOT NULL CHECK (status BETWEEN 5 AND 9),
    disposition    BIGINT NOT NULL CHECK (disposition BETWEEN 1 AND 5),
    incident_id    TEXT   NOT NULL,
    occurrence_id  TEXT   NOT NULL,
    prevention_id  TEXT   NOT NULL,
    cause_code     TEXT   NOT NULL,
    severity       BIGINT CHECK (severity BETWEEN 1 AND 4),
    category       BIGINT CHECK (category BETWEEN 1 AND 12),
    request_digest BYTEA NOT NULL,
    recorded_at    BIGINT NOT NULL,
    -- A success has neither, a prevention no incident, everything else an occurrence on one.
    CHECK ((disposition = 1) = (status = 5)),
    CHECK ((disposition = 2) = (prevention_id <> '')),
    CHECK ((disposition >= 3) = (occurrence_id <> '' AND incident_id <> ''))
);
CREATE UNIQUE INDEX run_outcomes_once ON run_outcomes (tenant_id, run_id, attempt);

CREATE TABLE incident_reports (
    tenant_id      TEXT   NOT NULL,
    fact_id        TEXT   NOT NULL,
    disposition    BIGINT NOT NULL CHECK (disposition BETWEEN 2 AND 5),
    incident_id    TEXT   NOT NULL,
    occurrence_id  TEXT   NOT NULL,
    prevention_id  TEXT   NOT NULL,
    severity       BIGINT NOT NULL CHECK (severity BETWEEN 1 AND 4),
    request_digest BYTEA NOT NULL,
    recorded_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX incident_reports_once ON incident_reports (tenant_id, fact_id);

CREATE TABLE incident_events (
    tenant_id     TEXT   NOT NULL,
    incident_id   TEXT   NOT NULL REFERENCES incidents (id),
    seq           BIGINT NOT NULL CHECK (seq >= 1),
    kind          BIGINT NOT NULL CHECK (kind BETWEEN 1 AND 14),
    status        BIGINT NOT NULL CHECK (status BETWEEN 1 AND 5),
    severity      BIGINT NOT NULL CHECK (severity BETWEEN 1 AND 4),
    version       BIGINT NOT NULL,
    actor_type    BIGINT NOT NULL,
    actor_id      TEXT   NOT NULL,
    at            BIGINT NOT NULL,
    note          TEXT   NOT NULL,
    occurrence_id TEXT   NOT NULL,
    run_id        TEXT   NOT NULL
);
CREATE UNIQUE INDEX incident_events_seq ON incident_events (tenant_id, incident_id, seq);

CREATE TABLE incident_evidence (
    id             TEXT   NOT NULL PRIMARY KEY,
    tenant_id      TEXT   NOT NULL,
    incident_id    TEXT   NOT NULL REFERENCES incidents (id),
    seq            BIGINT NOT NULL CHECK (seq >= 1),
    occurrence_id  TEXT   NOT NULL,
    kind           BIGINT NOT NULL CHECK (kind BETWEEN 1 AND 4),
    rule_id        TEXT   NOT NULL,
    value          TEXT   NOT NULL,
    condition      TEXT   NOT NULL,
    digest         BYTEA NOT NULL,
    step_index     BIGINT,
    trace_position BIGINT,
    trace_link     BYTEA NOT NULL,
    actor_type     BIGINT NOT NULL,
    actor_id       TEXT   NOT NULL,
    captured_at    BIGINT NOT NULL
);
CREATE UNIQUE INDEX incident_evidence_seq ON incident_evidence (tenant_id, incident_id, seq);

CREATE TABLE incident_links (
    tenant_id   TEXT   NOT NULL,
    incident_id TEXT   NOT NULL REFERENCES incidents (id),
    seq         BIGINT NOT NULL CHECK (seq >= 1),
    link_type   BIGINT NOT NULL CHECK (link_type BETWEEN 1 AND 16),
    target_id   TEXT   NOT NULL,
    reason      TEXT   NOT NULL,
    actor_type  BIGINT NOT NULL,
    actor_id    TEXT   NOT NULL,
    at          BIGINT NOT NULL
);
CREATE UNIQUE INDEX incident_links_seq ON incident_links (tenant_id, incident_id, seq);
CREATE UNIQUE INDEX incident_links_once ON incident_links (tenant_id, incident_id, link_type, target_id);

-- Working rows: the last number given to an incident of a tenant, and what was opened in an hour.
CREATE TABLE tenant_counters (
    tenant_id TEXT   NOT NULL PRIMARY KEY,
    last_seq  BIGINT NOT NULL
);
CREATE TABLE opened_hours (
    tenant_id TEXT   NOT NULL,
    hour      BIGINT NOT NULL,
    opened    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, hour)
);

-- The state table, for whoever writes by hand; the severity of an incident never falls.
CREATE FUNCTION incidents_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'IMMUTABLE_ROW incidents';
    END IF;
    IF (OLD.status <> NEW.status AND OLD.status * 10 + NEW.status NOT IN (12, 13, 14, 15, 23, 24, 25, 31, 35, 41, 45)) OR NEW.severity < OLD.severity THEN
        RAISE EXCEPTION 'ILLEGAL_CHANGE of an incident''s state or severity';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER incidents_guard BEFORE UPDATE OF status, severity OR DELETE ON incidents
    FOR EACH ROW EXECUTE FUNCTION incidents_guard();
