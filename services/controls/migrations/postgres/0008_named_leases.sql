-- Leases of the spine's schedules. holder stays after the end, to tell a late release from a foreign one.
CREATE TABLE named_leases (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    holder TEXT NOT NULL,
    fence BIGINT NOT NULL,
    expires_at BIGINT,
    last_done BIGINT,
    PRIMARY KEY (tenant_id, name)
);
