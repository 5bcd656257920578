//! Snapshots, their states and recalls, and what is in force for a tenant.

use bytes::Bytes;
use runspine_db::{DbError, Read, Tx, args, row};
use runspine_policies_domain::words::SnapshotState;
use runspine_types::{Digest, Micros, PLATFORM_TENANT};

row! {
    /// A snapshot with its state.
    #[derive(Debug, Clone)]
    pub(crate) struct SnapshotRow {
        pub id: i64,
        pub snapshot_id: String,
        pub digest: Digest,
        pub bytes: Bytes,
        pub rule_count: u32,
        pub created_at: Micros,
        pub state: i32,
        pub recall: i32,
    }
}

row! {
    /// What is in force for a tenant.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct LayerRow {
        pub version: i64,
        pub snapshot_key: i64,
        pub mesh_version: i64,
    }
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT s.id, s.snapshot_id, s.digest, s.bytes, s.rule_count, s.created_at, COALESCE((SELECT t.to_state ",
            "FROM snapshot_transitions t WHERE t.snapshot_key = s.id ORDER BY t.id DESC LIMIT 1), 0) AS state, ",
            "COALESCE(rc.directive, 0) AS recall FROM snapshots s ",
            "LEFT JOIN snapshot_recalls rc ON rc.snapshot_key = s.id ",
            $tail
        )
    };
}

pub(crate) const BY_DIGEST: &str = select!("WHERE s.tenant_id = $1 AND s.digest = $2");
pub(crate) const BY_KEY: &str = select!("WHERE s.tenant_id = $1 AND s.id = $2");
pub(crate) const IN_FORCE: &str = select!("JOIN layers l ON l.snapshot_key = s.id WHERE l.tenant_id = $1");
pub(crate) const LAYER: &str = "SELECT version, snapshot_key, mesh_version FROM layers WHERE tenant_id = $1";

pub(crate) async fn read_by_digest(
    read: &Read,
    tenant: &str,
    digest: Digest,
) -> Result<Option<SnapshotRow>, DbError> {
    read.fetch_optional(BY_DIGEST, args![tenant, digest]).await
}

pub(crate) async fn by_digest(
    tx: &mut Tx,
    tenant: &str,
    digest: Digest,
) -> Result<Option<SnapshotRow>, DbError> {
    tx.fetch_optional(BY_DIGEST, args![tenant, digest]).await
}

pub(crate) async fn by_key(tx: &mut Tx, tenant: &str, key: i64) -> Result<Option<SnapshotRow>, DbError> {
    tx.fetch_optional(BY_KEY, args![tenant, key]).await
}

/// The snapshot in force for a tenant, if one was built.
pub(crate) async fn in_force(read: &Read, tenant: &str) -> Result<Option<SnapshotRow>, DbError> {
    read.fetch_optional(IN_FORCE, args![tenant]).await
}

pub(crate) async fn layer(tx: &mut Tx, tenant: &str) -> Result<Option<LayerRow>, DbError> {
    tx.fetch_optional(LAYER, args![tenant]).await
}

pub(crate) async fn put_layer(tx: &mut Tx, tenant: &str, row: LayerRow) -> Result<(), DbError> {
    let sql = "INSERT INTO layers (tenant_id, version, snapshot_key, mesh_version) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (tenant_id) DO UPDATE SET version = excluded.version, \
               snapshot_key = excluded.snapshot_key, mesh_version = excluded.mesh_version";
    tx.execute(sql, args![tenant, row.version, row.snapshot_key, row.mesh_version]).await?;
    Ok(())
}

/// Stores a snapshot unless it is known, and says its key.
pub(crate) async fn insert(
    tx: &mut Tx,
    tenant: &str,
    snapshot_id: &str,
    digest: Digest,
    bytes: Vec<u8>,
    rule_count: usize,
    at: Micros,
) -> Result<SnapshotRow, DbError> {
    let sql = "INSERT INTO snapshots (snapshot_id, tenant_id, digest, bytes, rule_count, created_at) \
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant_id, digest) DO NOTHING";
    tx.execute(sql, args![snapshot_id, tenant, digest, bytes, rule_count, at]).await?;
    tx.fetch_one(BY_DIGEST, args![tenant, digest]).await
}

pub(crate) async fn insert_transition(
    tx: &mut Tx,
    key: i64,
    from: i32,
    to: SnapshotState,
    reason: &str,
    at: Micros,
) -> Result<(), DbError> {
    let sql = "INSERT INTO snapshot_transitions (snapshot_key, from_state, to_state, reason, at) \
               VALUES ($1, $2, $3, $4, $5)";
    tx.execute(sql, args![key, from, to.code(), reason, at]).await?;
    Ok(())
}

/// Run attempts bound to a snapshot that have no evaluation.
pub(crate) async fn live_runs(tx: &mut Tx, key: i64) -> Result<u32, DbError> {
    let sql = "SELECT COUNT(*) FROM run_states r WHERE r.snapshot_key = $1 AND NOT EXISTS (SELECT 1 FROM \
               evaluations e WHERE e.tenant_id = r.tenant_id AND e.run_id = r.run_id AND e.attempt = r.attempt)";
    Ok(tx.fetch_one::<(u32,)>(sql, args![key]).await?.0)
}

/// Tenants whose snapshot was built from other rules of the mesh than those in force.
pub(crate) const BEHIND: &str = "SELECT l.tenant_id FROM layers l JOIN layers m ON m.tenant_id = $1 \
     WHERE l.tenant_id <> $1 AND l.mesh_version <> m.version ORDER BY l.tenant_id LIMIT $2";

pub(crate) async fn behind(read: &Read, most: i64) -> Result<Vec<String>, DbError> {
    let found: Vec<(String,)> = read.fetch_all(BEHIND, args![PLATFORM_TENANT, most]).await?;
    Ok(found.into_iter().map(|(tenant,)| tenant).collect())
}

/// Superseded before a time, and no attempt without an evaluation is bound to it.
pub(crate) const OUTLIVED: &str = "SELECT s.tenant_id, s.id FROM snapshots s JOIN snapshot_transitions t \
     ON t.id = (SELECT MAX(l.id) FROM snapshot_transitions l WHERE l.snapshot_key = s.id) \
     WHERE t.to_state = 2 AND t.at <= $1 AND NOT EXISTS (SELECT 1 FROM run_states r WHERE r.snapshot_key = s.id \
     AND NOT EXISTS (SELECT 1 FROM evaluations e WHERE e.tenant_id = r.tenant_id AND e.run_id = r.run_id \
     AND e.attempt = r.attempt)) ORDER BY s.id LIMIT $2";

pub(crate) async fn outlived(read: &Read, before: Micros, most: i64) -> Result<Vec<(String, i64)>, DbError> {
    read.fetch_all(OUTLIVED, args![before, most]).await
}

/// A recall to store.
pub(crate) struct RecallRow<'a> {
    pub snapshot_key: i64,
    pub recall_id: &'a str,
    pub directive: i32,
    pub reason: &'a str,
    pub actor_id: &'a str,
    pub runs_bound: u32,
    pub at: Micros,
}

/// Stores a recall; `false` when the snapshot was recalled before.
pub(crate) async fn insert_recall(tx: &mut Tx, row: &RecallRow<'_>) -> Result<bool, DbError> {
    let sql = "INSERT INTO snapshot_recalls (snapshot_key, recall_id, directive, reason, actor_id, runs_bound, at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let values = args![
        row.snapshot_key,
        row.recall_id,
        row.directive,
        row.reason,
        row.actor_id,
        row.runs_bound,
        row.at,
    ];
    Ok(tx.execute(sql, values).await? == 1)
}
