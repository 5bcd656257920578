-- Signed checkpoints. `log` is a tenant's id for its ledger, or `mesh` for the log over all checkpoints. `note` is the
-- note with the log's own signature; cosignatures stand beside it.
CREATE TABLE checkpoints (
    id         INTEGER PRIMARY KEY,
    log        TEXT NOT NULL,
    tree_size  BIGINT NOT NULL,
    root       BLOB NOT NULL,
    note       TEXT NOT NULL,
    key_id     TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX checkpoints_size ON checkpoints (log, tree_size);

CREATE TABLE cosignatures (
    id        INTEGER PRIMARY KEY,
    log       TEXT NOT NULL,
    tree_size BIGINT NOT NULL,
    witness   TEXT NOT NULL,
    line      TEXT NOT NULL,
    added_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX cosignatures_witness ON cosignatures (log, tree_size, witness);
CREATE INDEX cosignatures_first ON cosignatures (witness, log);

-- Roots of complete subtrees of 256 leaves, so that a root or a proof reads few leaves.
CREATE TABLE merkle_tiles (
    id   INTEGER PRIMARY KEY,
    log  TEXT NOT NULL,
    tile BIGINT NOT NULL,
    root BLOB NOT NULL
);
CREATE UNIQUE INDEX merkle_tiles_place ON merkle_tiles (log, tile);

-- The log of the whole mesh: the n-th leaf is the digest of the n-th checkpoint note of any tenant.
CREATE TABLE mesh_leaves (
    seq       INTEGER PRIMARY KEY,
    log       TEXT NOT NULL,
    tree_size BIGINT NOT NULL,
    leaf      BLOB NOT NULL
);
CREATE UNIQUE INDEX mesh_leaves_checkpoint ON mesh_leaves (log, tree_size);
