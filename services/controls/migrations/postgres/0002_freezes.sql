-- open: 1 until it is lifted, or replaced after its time. tenant_id is empty for the mesh.
CREATE TABLE freezes (
    freeze_id TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    scope BIGINT NOT NULL,
    scope_id TEXT NOT NULL,
    effect BIGINT NOT NULL,
    reason BIGINT NOT NULL,
    note TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    committed_at BIGINT NOT NULL,
    expires_at BIGINT,
    runs_in_scope BIGINT NOT NULL,
    open BIGINT NOT NULL,
    lifted_by TEXT NOT NULL,
    lifted_at BIGINT,
    lifted_epoch BIGINT NOT NULL
);
CREATE UNIQUE INDEX freezes_one_open ON freezes (tenant_id, scope, scope_id) WHERE open = 1;
CREATE INDEX freezes_by_epoch ON freezes (epoch);

CREATE TABLE freeze_events (
    freeze_id TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    action TEXT NOT NULL,
    actor_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (freeze_id, action)
);

CREATE TABLE unfreeze_requests (
    unfreeze_id TEXT PRIMARY KEY,
    freeze_id TEXT NOT NULL UNIQUE,
    requested_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    requested_at BIGINT NOT NULL
);
