//! What attempts came to.

use bytes::Bytes;
use runspine_db::{DbError, Tx, args, row};
use runspine_types::{Digest, Micros};

row! {
    /// A stored evaluation, and whether it is effective no more.
    #[derive(Debug, Clone)]
    pub(crate) struct EvaluationRow {
        pub evaluation_id: String,
        pub run_id: String,
        pub attempt: u32,
        pub revision: u32,
        pub request_digest: Digest,
        pub body: Bytes,
        pub superseded: bool,
    }
}

row! {
    /// Sums over the decisions of an attempt.
    #[derive(Debug, Clone, Default)]
    pub(crate) struct DecisionSums {
        pub allow: u32,
        pub deny: u32,
        pub modify: u32,
        pub require_approval: u32,
        pub deferred: u32,
        pub steps: u32,
        pub enforced_denials: u32,
        pub terminations: u32,
        pub degraded: u32,
    }
}

pub(crate) const OF_ATTEMPT: &str = "SELECT e.evaluation_id, e.run_id, e.attempt, e.revision, e.request_digest, e.body, \
     CASE WHEN s.id IS NULL THEN 0 ELSE 1 END AS superseded FROM evaluations e \
     LEFT JOIN evaluation_supersessions s ON s.evaluation_id = e.evaluation_id \
     WHERE e.tenant_id = $1 AND e.run_id = $2 AND e.attempt = $3 ORDER BY e.revision";
pub(crate) const BY_ID: &str = "SELECT e.evaluation_id, e.run_id, e.attempt, e.revision, e.request_digest, e.body, \
     CASE WHEN s.id IS NULL THEN 0 ELSE 1 END AS superseded FROM evaluations e \
     LEFT JOIN evaluation_supersessions s ON s.evaluation_id = e.evaluation_id \
     WHERE e.tenant_id = $1 AND e.evaluation_id = $2";
pub(crate) const SUMS: &str = "SELECT \
     CAST(COALESCE(SUM(CASE WHEN verdict = 1 THEN 1 ELSE 0 END), 0) AS BIGINT) AS allow, \
     CAST(COALESCE(SUM(CASE WHEN verdict = 2 THEN 1 ELSE 0 END), 0) AS BIGINT) AS deny, \
     CAST(COALESCE(SUM(CASE WHEN verdict = 3 THEN 1 ELSE 0 END), 0) AS BIGINT) AS modify, \
     CAST(COALESCE(SUM(CASE WHEN verdict = 4 THEN 1 ELSE 0 END), 0) AS BIGINT) AS require_approval, \
     CAST(COALESCE(SUM(CASE WHEN verdict = 5 THEN 1 ELSE 0 END), 0) AS BIGINT) AS deferred, \
     CAST(COALESCE(SUM(CASE WHEN step_index >= 0 THEN 1 ELSE 0 END), 0) AS BIGINT) AS steps, \
     CAST(COALESCE(SUM(CASE WHEN effective_verdict = 2 THEN 1 ELSE 0 END), 0) AS BIGINT) AS enforced_denials, \
     CAST(COALESCE(SUM(CASE WHEN directive = 3 THEN 1 ELSE 0 END), 0) AS BIGINT) AS terminations, \
     CAST(COALESCE(SUM(degraded), 0) AS BIGINT) AS degraded FROM decisions WHERE run_key = $1";
/// Actions that only tell: WARNED, AUDITED, BYPASSED, WOULD_BLOCK, ERRORED.
pub(crate) const ENFORCED: &str = "SELECT COUNT(DISTINCT rule_id), \
     CAST(COALESCE(SUM(CASE WHEN action IN (5, 6, 8, 9, 10) THEN 1 ELSE 0 END), 0) AS BIGINT) \
     FROM enforcements WHERE run_key = $1";
pub(crate) const PRIMARY: &str = "SELECT code FROM decisions WHERE run_key = $1 AND code <> '' \
     ORDER BY CASE WHEN effective_verdict = 2 THEN 0 ELSE 1 END, id DESC LIMIT 1";
/// Recorded steps (SKIPPED ones did not happen, but were told), and those that had a decision.
pub(crate) const COVERAGE: &str = "SELECT COUNT(DISTINCT f.step_index), \
     COUNT(DISTINCT CASE WHEN d.id IS NULL THEN NULL ELSE f.step_index END) FROM step_facts f \
     LEFT JOIN decisions d ON d.run_key = f.run_key AND d.step_index = f.step_index WHERE f.run_key = $1";

pub(crate) async fn of_attempt(
    tx: &mut Tx,
    tenant: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Vec<EvaluationRow>, DbError> {
    tx.fetch_all(OF_ATTEMPT, args![tenant, run_id, attempt]).await
}

pub(crate) async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<EvaluationRow>, DbError> {
    tx.fetch_optional(BY_ID, args![tenant, id]).await
}

pub(crate) async fn sums(tx: &mut Tx, run_key: i64) -> Result<DecisionSums, DbError> {
    tx.fetch_one(SUMS, args![run_key]).await
}

/// Distinct rules enforced, and enforcements that only tell.
pub(crate) async fn enforced(tx: &mut Tx, run_key: i64) -> Result<(u32, u32), DbError> {
    tx.fetch_one(ENFORCED, args![run_key]).await
}

/// The rules that were evaluated, packed: each pack once.
pub(crate) const CHECKED: &str =
    "SELECT DISTINCT rules FROM decisions WHERE run_key = $1 AND rules IS NOT NULL";

pub(crate) async fn checked(tx: &mut Tx, run_key: i64) -> Result<Vec<Bytes>, DbError> {
    let packs: Vec<(Bytes,)> = tx.fetch_all(CHECKED, args![run_key]).await?;
    Ok(packs.into_iter().map(|(pack,)| pack).collect())
}

/// Recorded steps, and those that had a decision.
pub(crate) async fn coverage(tx: &mut Tx, run_key: i64) -> Result<(u32, u32), DbError> {
    tx.fetch_one(COVERAGE, args![run_key]).await
}

/// How many violations an attempt has, and the code of the first.
pub(crate) async fn violations(tx: &mut Tx, run_key: i64) -> Result<(u32, Option<String>), DbError> {
    let (count,): (u32,) =
        tx.fetch_one("SELECT COUNT(*) FROM violations WHERE run_key = $1", args![run_key]).await?;
    let sql = "SELECT rule_code FROM violations WHERE run_key = $1 ORDER BY id LIMIT 1";
    let first: Option<(String,)> = tx.fetch_optional(sql, args![run_key]).await?;
    Ok((count, first.map(|(code,)| code)))
}

/// Code of the decision that counts most: the last denial, else the last that had a reason.
pub(crate) async fn primary(tx: &mut Tx, run_key: i64) -> Result<Option<String>, DbError> {
    Ok(tx.fetch_optional::<(String,)>(PRIMARY, args![run_key]).await?.map(|(code,)| code))
}

/// Outcome of the effective evaluation of a run's latest attempt that has one.
pub(crate) const EFFECTIVE: &str = "SELECT e.outcome FROM evaluations e \
     LEFT JOIN evaluation_supersessions s ON s.evaluation_id = e.evaluation_id \
     WHERE e.tenant_id = $1 AND e.run_id = $2 AND s.id IS NULL ORDER BY e.attempt DESC, e.revision DESC LIMIT 1";

pub(crate) async fn effective_outcome(
    tx: &mut Tx,
    tenant: &str,
    run_id: &str,
) -> Result<Option<i32>, DbError> {
    Ok(tx.fetch_optional::<(i32,)>(EFFECTIVE, args![tenant, run_id]).await?.map(|(outcome,)| outcome))
}

/// An evaluation to store.
pub(crate) struct NewEvaluation<'a> {
    pub evaluation_id: &'a str,
    pub run_id: &'a str,
    pub attempt: u32,
    pub revision: u32,
    pub outcome: i32,
    pub request_digest: Digest,
    pub body: Vec<u8>,
    pub at: Micros,
}

pub(crate) async fn insert(tx: &mut Tx, tenant: &str, row: NewEvaluation<'_>) -> Result<(), DbError> {
    let sql = "INSERT INTO evaluations (evaluation_id, tenant_id, run_id, attempt, revision, outcome, \
               request_digest, body, evaluated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let key = args![row.evaluation_id, tenant, row.run_id, row.attempt, row.revision, row.outcome];
    let values = key.into_iter().chain(args![row.request_digest, row.body, row.at]).collect();
    tx.execute(sql, values).await?;
    Ok(())
}

row! {
    /// A stored supersession.
    #[derive(Debug, Clone)]
    pub(crate) struct SupersessionRow {
        pub supersession_id: String,
        pub request_digest: Digest,
        pub at: Micros,
    }
}

pub(crate) async fn supersession(
    tx: &mut Tx,
    tenant: &str,
    evaluation_id: &str,
) -> Result<Option<SupersessionRow>, DbError> {
    let sql = "SELECT supersession_id, request_digest, at FROM evaluation_supersessions \
               WHERE tenant_id = $1 AND evaluation_id = $2";
    tx.fetch_optional(sql, args![tenant, evaluation_id]).await
}

pub(crate) async fn insert_supersession(
    tx: &mut Tx,
    tenant: &str,
    evaluation_id: &str,
    row: &SupersessionRow,
    why: (&str, &str),
) -> Result<(), DbError> {
    let sql = "INSERT INTO evaluation_supersessions (evaluation_id, tenant_id, supersession_id, request_digest, \
               reason, saga_id, at) VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let values = args![evaluation_id, tenant, &row.supersession_id, row.request_digest, why.0, why.1, row.at];
    tx.execute(sql, values).await?;
    Ok(())
}
