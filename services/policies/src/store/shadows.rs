//! Shadows and what they saw.

use bytes::Bytes;
use runspine_db::{DbError, Read, Tx, args, row};
use runspine_policies_domain::words::ShadowState;
use runspine_types::{Digest, Micros};

use super::diffs::{self, DiffRow};

row! {
    /// A shadow.
    #[derive(Debug, Clone)]
    pub(crate) struct ShadowRow {
        pub id: i64,
        pub tenant_id: String,
        pub shadow_id: String,
        pub state: i32,
        pub version: u64,
        pub base_digest: Digest,
        pub overlay: Bytes,
        pub candidate_digest: Digest,
        pub sample_permille: u32,
        pub ends_at: Micros,
        pub dropped: u64,
        pub actor_type: i32,
        pub actor_id: String,
        pub created_at: Micros,
        pub stopped_at: Micros,
    }
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, tenant_id, shadow_id, state, version, base_digest, overlay, candidate_digest, sample_permille, ",
            "ends_at, dropped, actor_type, actor_id, created_at, stopped_at FROM shadows",
            $tail
        )
    };
}

pub(crate) const SHADOW: &str = select!("");
pub(crate) const BY_ID: &str = select!(" WHERE tenant_id = $1 AND shadow_id = $2");
pub(crate) const ACTIVE: &str = select!(" WHERE state = 1 AND ends_at > $1 ORDER BY id");

pub(crate) async fn read(read: &Read, tenant: &str, id: &str) -> Result<Option<ShadowRow>, DbError> {
    read.fetch_optional(BY_ID, args![tenant, id]).await
}

pub(crate) async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<ShadowRow>, DbError> {
    tx.fetch_optional(BY_ID, args![tenant, id]).await
}

/// Every shadow that looks at what is decided.
pub(crate) async fn active(read: &Read, now: Micros) -> Result<Vec<ShadowRow>, DbError> {
    read.fetch_all(ACTIVE, args![now]).await
}

/// How many shadows of a tenant look at what is decided.
pub(crate) async fn count(tx: &mut Tx, tenant: &str, now: Micros) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM shadows WHERE tenant_id = $1 AND state = 1 AND ends_at > $2";
    Ok(tx.fetch_one::<(u64,)>(sql, args![tenant, now]).await?.0)
}

/// A shadow to store.
pub(crate) struct NewShadow {
    pub shadow_id: String,
    pub base_digest: Digest,
    pub overlay: Vec<u8>,
    pub candidate_digest: Digest,
    pub sample_permille: u32,
    pub ends_at: Micros,
    pub actor: (i32, String),
    pub at: Micros,
}

pub(crate) async fn insert(tx: &mut Tx, tenant: &str, new: NewShadow) -> Result<ShadowRow, DbError> {
    let sql = "INSERT INTO shadows (tenant_id, shadow_id, state, version, base_digest, overlay, candidate_digest, \
               sample_permille, ends_at, dropped, actor_type, actor_id, created_at, stopped_at) \
               VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, 0, $9, $10, $11, 0)";
    let id = new.shadow_id.clone();
    let values = args![
        tenant,
        new.shadow_id,
        ShadowState::Active.code(),
        new.base_digest,
        new.overlay,
        new.candidate_digest,
        new.sample_permille,
        new.ends_at,
        new.actor.0,
        new.actor.1,
        new.at,
    ];
    tx.execute(sql, values).await?;
    tx.fetch_one(BY_ID, args![tenant, id]).await
}

/// Stops a shadow if it still has the version that was read.
pub(crate) async fn stop(tx: &mut Tx, row: &ShadowRow, at: Micros) -> Result<bool, DbError> {
    let sql = "UPDATE shadows SET state = $3, stopped_at = $4, version = version + 1 WHERE id = $1 AND version = $2";
    Ok(tx.execute(sql, args![row.id, row.version, ShadowState::Stopped.code(), at]).await? == 1)
}

/// Counts decisions that a shadow could not keep up with.
pub(crate) async fn dropped(tx: &mut Tx, key: i64, more: u64) -> Result<(), DbError> {
    let sql = "UPDATE shadows SET dropped = dropped + $2, version = version + 1 WHERE id = $1";
    tx.execute(sql, args![key, more]).await?;
    Ok(())
}

/// What a shadow saw of one decision.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Why it was not decided again; 0: it was.
    pub refused: i32,
    pub detail: String,
    pub diff: DiffRow,
}

/// Stores what shadows saw; a decision that was answered again is seen once.
pub(crate) async fn insert_seen(tx: &mut Tx, rows: Vec<(i64, Seen)>) -> Result<(), DbError> {
    let row = |(key, seen): (i64, Seen)| seen.diff.values(args![key, seen.refused, seen.detail]);
    let rows = rows.into_iter().map(row).collect();
    let columns = diffs::columns(&["shadow_key", "refused", "detail"]);
    let conflict = "ON CONFLICT (shadow_key, run_id, attempt, decision_id) DO NOTHING";
    tx.insert_rows("shadow_decisions", &columns, rows, conflict).await?;
    Ok(())
}

/// Whether a candidate denied something in a run that was not denied.
pub(crate) async fn denied_before(read: &Read, key: i64, run: (&str, u32)) -> Result<bool, DbError> {
    let sql = "SELECT id FROM shadow_decisions WHERE shadow_key = $1 AND run_id = $2 AND attempt = $3 \
               AND candidate = 2 AND recorded <> 2 ORDER BY id LIMIT 1";
    Ok(read.fetch_optional::<(i64,)>(sql, args![key, run.0, run.1]).await?.is_some())
}

row! {
    /// Decisions of one kind.
    #[derive(Debug, Clone)]
    pub(crate) struct CellRow {
        pub refused: i32,
        pub detail: Option<String>,
        pub recorded: i32,
        pub candidate: i32,
        pub counterfactual: bool,
        pub seen: u64,
    }
}

row! {
    /// Changes by their keys.
    #[derive(Debug, Clone)]
    pub(crate) struct ChangeRow {
        pub recorded: i32,
        pub rule: String,
        pub agent_id: String,
        pub resource: String,
        pub seen: u64,
    }
}

pub(crate) const CELLS: &str = "SELECT refused, MIN(detail) AS detail, recorded, candidate, counterfactual, COUNT(*) AS seen \
     FROM shadow_decisions WHERE shadow_key = $1 GROUP BY refused, recorded, candidate, counterfactual \
     ORDER BY refused, recorded, candidate, counterfactual";
pub(crate) const CHANGES: &str = "SELECT recorded, CASE WHEN candidate = 2 THEN candidate_rule ELSE recorded_rule END AS rule, \
     agent_id, resource, COUNT(*) AS seen FROM shadow_decisions WHERE shadow_key = $1 AND refused = 0 \
     AND ((recorded = 1 AND candidate = 2) OR (recorded = 2 AND candidate = 1)) GROUP BY 1, 2, 3, 4";
pub(crate) const AFFECTED: &str = "SELECT DISTINCT r.id FROM shadow_decisions s \
     JOIN shadows h ON h.id = s.shadow_key JOIN run_states r ON r.tenant_id = h.tenant_id AND r.run_id = s.run_id \
     AND r.attempt = s.attempt WHERE s.shadow_key = $1 AND s.refused = 0 AND s.recorded <> s.candidate \
     AND s.counterfactual = 0";
/// The first twenty of each cell that is a change.
pub(crate) const EXAMPLES: &str = "SELECT id, decision_id, run_id, attempt, step_index, recorded, candidate, \
     recorded_code, recorded_rule, candidate_code, candidate_rule, counterfactual, agent_id, resource FROM \
     (SELECT *, ROW_NUMBER() OVER (PARTITION BY recorded, candidate ORDER BY id) AS place FROM shadow_decisions \
     WHERE shadow_key = $1 AND refused = 0 AND recorded <> candidate) AS changed WHERE place <= 20 \
     ORDER BY recorded, candidate, id";
