-- The epoch that an admission was given under, the newest one under which a run was allowed anything, and the newest
-- one that its agent has named.
ALTER TABLE evidence ADD COLUMN freeze_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run_leases ADD COLUMN allowed_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE run_leases ADD COLUMN epoch_seen BIGINT NOT NULL DEFAULT 0;
CREATE INDEX run_leases_by_allowed_epoch ON run_leases (tenant_id, allowed_epoch);
ALTER TABLE freezes ADD COLUMN auto BIGINT NOT NULL DEFAULT 0;

-- Replicas of the spine that follow the epoch.
CREATE TABLE replicas (
    replica TEXT PRIMARY KEY,
    seen_at BIGINT NOT NULL
);

-- What a freeze met when it was committed: runs in scope with a live lease, replicas that were alive. A freeze is known
-- by its epoch here.
CREATE TABLE freeze_runs (
    epoch BIGINT NOT NULL,
    run_key BIGINT NOT NULL,
    PRIMARY KEY (epoch, run_key)
);
CREATE TABLE freeze_replicas (
    epoch BIGINT NOT NULL,
    replica TEXT NOT NULL,
    PRIMARY KEY (epoch, replica)
);

-- run_key 0: the replica itself.
CREATE TABLE containment_acks (
    epoch BIGINT NOT NULL,
    run_key BIGINT NOT NULL,
    replica TEXT NOT NULL,
    confirmed_epoch BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (epoch, run_key, replica)
);

-- What a proof was found to be, once for each status.
CREATE TABLE containments (
    epoch BIGINT NOT NULL,
    status BIGINT NOT NULL,
    proof BLOB NOT NULL,
    digest BLOB NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (epoch, status)
);
