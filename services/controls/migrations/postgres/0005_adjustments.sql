-- A wish to adjust an envelope. One that is small enough is applied at once and has no row here.
CREATE TABLE adjustments (
    adjustment_id TEXT PRIMARY KEY,
    envelope_key BIGINT NOT NULL,
    tenant_id TEXT NOT NULL,
    amount BIGINT NOT NULL,
    reason TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at BIGINT NOT NULL
);

-- The key is why an adjustment is applied once.
CREATE TABLE adjustment_approvals (
    adjustment_id TEXT PRIMARY KEY,
    approved_by TEXT NOT NULL,
    approved_at BIGINT NOT NULL
);

ALTER TABLE envelopes ADD COLUMN suspended BIGINT NOT NULL DEFAULT 0;
