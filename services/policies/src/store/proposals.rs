//! Proposals, and what was said of them.

use bytes::Bytes;
use runspine_db::{DbError, Read, Tx, args, row};
use runspine_types::Micros;

row! {
    /// A proposal as it is stored.
    #[derive(Debug, Clone)]
    pub(crate) struct ProposalRow {
        pub id: i64,
        pub tenant_id: String,
        pub version: u64,
        pub body: Bytes,
    }
}

row! {
    /// What was said of a revision.
    #[derive(Debug, Clone)]
    pub(crate) struct ReviewRow {
        pub revision: u32,
        pub outcome: i32,
        pub note: String,
        pub backtest_id: String,
        pub actor_type: i32,
        pub actor_id: String,
        pub at: Micros,
    }
}

/// A proposal to store, or what it becomes.
pub(crate) struct Kept<'a> {
    pub proposal_id: &'a str,
    pub state: i32,
    pub kind: i32,
    /// What it was made of; none: nothing.
    pub source: Option<String>,
    /// The pattern that it answers to; empty: none.
    pub pattern: &'a str,
    pub run_id: &'a str,
    /// When it expires.
    pub due_at: Micros,
    pub body: Vec<u8>,
}

pub(crate) const PROPOSAL: &str = "SELECT id, tenant_id, version, body FROM proposals";
pub(crate) const BY_ID: &str =
    "SELECT id, tenant_id, version, body FROM proposals WHERE tenant_id = $1 AND proposal_id = $2";
pub(crate) const DUE: &str = "SELECT id, tenant_id, version, body FROM proposals WHERE state = 1 AND due_at <= $1 ORDER BY due_at, id LIMIT $2";
pub(crate) const REVIEWS: &str = "SELECT revision, outcome, note, backtest_id, actor_type, actor_id, at \
     FROM proposal_reviews WHERE proposal_key = $1 ORDER BY id DESC LIMIT 50";

pub(crate) async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<ProposalRow>, DbError> {
    tx.fetch_optional(BY_ID, args![tenant, id]).await
}

/// Holds the row of a proposal until the commit: whoever comes for the same waits here, and reads it as it is then.
pub(crate) async fn hold(tx: &mut Tx, tenant: &str, id: &str) -> Result<(), DbError> {
    let sql = "UPDATE proposals SET version = version WHERE tenant_id = $1 AND proposal_id = $2";
    tx.execute(sql, args![tenant, id]).await?;
    Ok(())
}

pub(crate) async fn read(read: &Read, tenant: &str, id: &str) -> Result<Option<ProposalRow>, DbError> {
    read.fetch_optional(BY_ID, args![tenant, id]).await
}

pub(crate) async fn reviews(read: &Read, key: i64) -> Result<Vec<ReviewRow>, DbError> {
    read.fetch_all(REVIEWS, args![key]).await
}

pub(crate) async fn due(read: &Read, now: Micros, most: i64) -> Result<Vec<ProposalRow>, DbError> {
    read.fetch_all(DUE, args![now, most]).await
}

/// How many proposals of a tenant nobody decided about.
pub(crate) async fn open(tx: &mut Tx, tenant: &str) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM proposals WHERE tenant_id = $1 AND state = 1";
    Ok(tx.fetch_one::<(i64,)>(sql, args![tenant]).await?.0)
}

/// The proposal that was made of a thing.
pub(crate) async fn of_source(
    tx: &mut Tx,
    tenant: &str,
    source: &str,
) -> Result<Option<ProposalRow>, DbError> {
    let sql = "SELECT id, tenant_id, version, body FROM proposals WHERE tenant_id = $1 AND source = $2";
    tx.fetch_optional(sql, args![tenant, source]).await
}

/// The DRAFT of a kind that answers to a pattern.
pub(crate) const OF_PATTERN: &str = "SELECT id, tenant_id, version, body FROM proposals \
     WHERE tenant_id = $1 AND pattern = $2 AND kind = $3 AND state = 1 AND pattern <> ''";

pub(crate) async fn of_pattern(
    tx: &mut Tx,
    tenant: &str,
    pattern: &str,
    kind: i32,
) -> Result<Option<ProposalRow>, DbError> {
    tx.fetch_optional(OF_PATTERN, args![tenant, pattern, kind]).await
}

/// Stores a new proposal; `false` when one was made of the same thing, or answers to the same pattern.
pub(crate) async fn insert(tx: &mut Tx, tenant: &str, p: Kept<'_>) -> Result<bool, DbError> {
    let sql = "INSERT INTO proposals (tenant_id, proposal_id, state, kind, source, pattern, run_id, version, body, due_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9) ON CONFLICT DO NOTHING";
    let values =
        args![tenant, p.proposal_id, p.state, p.kind, p.source, p.pattern, p.run_id, p.body, p.due_at];
    Ok(tx.execute(sql, values).await? == 1)
}

/// Changes a proposal if it still has the version that was read; `false` otherwise.
pub(crate) async fn update(tx: &mut Tx, id: i64, version: u64, p: Kept<'_>) -> Result<bool, DbError> {
    let sql = "UPDATE proposals SET state = $3, due_at = $4, body = $5, version = version + 1 \
               WHERE id = $1 AND version = $2";
    Ok(tx.execute(sql, args![id, version, p.state, p.due_at, p.body]).await? == 1)
}

pub(crate) async fn insert_review(tx: &mut Tx, key: i64, r: &ReviewRow) -> Result<(), DbError> {
    let sql = "INSERT INTO proposal_reviews (proposal_key, revision, outcome, note, backtest_id, actor_type, actor_id, \
               at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let values = args![key, r.revision, r.outcome, &r.note, &r.backtest_id, r.actor_type, &r.actor_id, r.at];
    tx.execute(sql, values).await?;
    Ok(())
}
