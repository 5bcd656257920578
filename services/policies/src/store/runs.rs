//! Attempts bound to a snapshot.

use bytes::Bytes;
use runspine_db::{DbError, Read, Tx, args, row};
use runspine_types::{Digest, Micros};

row! {
    /// An attempt, with the digest of the snapshot it is bound to.
    #[derive(Debug, Clone)]
    pub(crate) struct RunRow {
        pub id: i64,
        pub snapshot_key: i64,
        pub snapshot_id: String,
        pub digest: Digest,
        pub principal: Bytes,
        pub taints: String,
        pub taint_version: i64,
        pub recall: i32,
    }
}

row! {
    /// What is needed of a decision to judge the record of its step.
    #[derive(Debug, Clone)]
    pub(crate) struct AnswerRow {
        pub step_index: i64,
        pub answer: Bytes,
    }
}

pub(crate) const RUN: &str = "SELECT r.id, r.snapshot_key, s.snapshot_id, s.digest, r.principal, r.taints, \
     r.taint_version, COALESCE(rc.directive, 0) AS recall FROM run_states r JOIN snapshots s ON s.id = r.snapshot_key \
     LEFT JOIN snapshot_recalls rc ON rc.snapshot_key = r.snapshot_key \
     WHERE r.tenant_id = $1 AND r.run_id = $2 AND r.attempt = $3";
pub(crate) const ANSWER: &str = "SELECT step_index, answer FROM decisions WHERE run_key = $1 AND step_index = $2 \
     ORDER BY ask DESC LIMIT 1";

/// Whether the store answers.
pub(crate) const PROBE: &str = "SELECT id FROM run_states LIMIT 1";

pub(crate) async fn read(
    read: &Read,
    tenant: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Option<RunRow>, DbError> {
    read.fetch_optional(RUN, args![tenant, run_id, attempt]).await
}

pub(crate) async fn in_tx(
    tx: &mut Tx,
    tenant: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Option<RunRow>, DbError> {
    tx.fetch_optional(RUN, args![tenant, run_id, attempt]).await
}

/// The latest attempt of a run that is bound; 0: none.
pub(crate) async fn latest_attempt(tx: &mut Tx, tenant: &str, run_id: &str) -> Result<u32, DbError> {
    let sql = "SELECT COALESCE(MAX(attempt), 0) FROM run_states WHERE tenant_id = $1 AND run_id = $2";
    Ok(tx.fetch_one::<(u32,)>(sql, args![tenant, run_id]).await?.0)
}

pub(crate) const TAINTS: &str = "SELECT taints FROM run_states WHERE tenant_id = $1 AND run_id = $2 ORDER BY attempt DESC \
     LIMIT 1";

/// The labels that the latest attempt of a run has gained, as stored; none: it is not bound.
pub(crate) async fn taints(read: &Read, tenant: &str, run_id: &str) -> Result<Option<String>, DbError> {
    Ok(read.fetch_optional::<(String,)>(TAINTS, args![tenant, run_id]).await?.map(|(taints,)| taints))
}

pub(crate) const DEFERRALS: &str =
    "SELECT COUNT(*) FROM decisions WHERE run_key = $1 AND step_index = $2 AND verdict = 5";

/// How often a question was put off; step -1: that about the start.
pub(crate) async fn deferrals(read: &Read, run_key: i64, step: i64) -> Result<u32, DbError> {
    let count: Option<(u32,)> = read.fetch_optional(DEFERRALS, args![run_key, step]).await?;
    Ok(count.map_or(0, |(n,)| n))
}

/// The latest answer about a step.
pub(crate) async fn answer(read: &Read, run_key: i64, step: u32) -> Result<Option<AnswerRow>, DbError> {
    read.fetch_optional(ANSWER, args![run_key, step]).await
}

/// Binds an attempt, and says its key.
pub(crate) async fn insert(
    tx: &mut Tx,
    tenant: &str,
    run: (&str, u32),
    snapshot_key: i64,
    principal: &[u8],
    taints: &str,
    at: Micros,
) -> Result<i64, DbError> {
    let sql = "INSERT INTO run_states (tenant_id, run_id, attempt, snapshot_key, principal, taints, taint_version, \
               bound_at) VALUES ($1, $2, $3, $4, $5, $6, 0, $7) RETURNING id";
    let values = args![tenant, run.0, run.1, snapshot_key, principal, taints, at];
    Ok(tx.fetch_one::<(i64,)>(sql, values).await?.0)
}
