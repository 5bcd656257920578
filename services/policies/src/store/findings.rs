//! Analyses, what they found, and who knows of it.

use bytes::Bytes;
use runspine_db::{DbError, Tx, args, row};
use runspine_types::{Digest, Micros};

row! {
    /// A finding, and who knows of it.
    #[derive(Debug, Clone)]
    pub(crate) struct FindingRow {
        pub id: i64,
        pub finding_id: String,
        pub severity: i32,
        pub body: Bytes,
        pub found_at: Micros,
        pub reason: Option<String>,
        pub actor_type: Option<i32>,
        pub actor_id: Option<String>,
        pub at: Option<Micros>,
    }
}

pub(crate) const FINDING: &str = "SELECT f.id, f.finding_id, f.severity, f.body, f.found_at, a.reason, a.actor_type, \
     a.actor_id, a.at FROM findings f LEFT JOIN finding_acks a ON a.finding_key = f.id \
     JOIN analysis_findings l ON l.finding_key = f.id JOIN analyses n ON n.id = l.analysis_key";
pub(crate) const BY_ID: &str = "SELECT f.id, f.finding_id, f.severity, f.body, f.found_at, a.reason, a.actor_type, \
     a.actor_id, a.at FROM findings f LEFT JOIN finding_acks a ON a.finding_key = f.id \
     WHERE f.tenant_id = $1 AND f.finding_id = $2";
pub(crate) const OF_ANALYSIS: &str = "SELECT f.id, f.finding_id, f.severity, f.body, f.found_at, a.reason, a.actor_type, \
     a.actor_id, a.at FROM analysis_findings l JOIN findings f ON f.id = l.finding_key \
     LEFT JOIN finding_acks a ON a.finding_key = f.id WHERE l.analysis_key = $1 \
     ORDER BY f.severity DESC, f.kind, f.rule_id, f.other_rule_id LIMIT $2";
/// The latest analysis of what was in force.
pub(crate) const LATEST: &str = "SELECT analysis_id FROM analyses WHERE tenant_id = $1 AND in_force = 1 \
     ORDER BY id DESC LIMIT 1";

/// An analysis to store.
pub(crate) struct NewAnalysis<'a> {
    pub analysis_id: &'a str,
    pub in_force: bool,
    pub digest: Digest,
    pub pairs: u64,
    pub incomplete: u32,
    pub at: Micros,
}

/// A finding to store.
pub(crate) struct NewFinding {
    pub finding_id: String,
    pub identity: Digest,
    pub kind: i32,
    pub severity: i32,
    pub rule_id: String,
    pub other_rule_id: String,
    pub body: Vec<u8>,
}

/// Stores an analysis with its findings, and says its key; what was found before keeps its id.
pub(crate) async fn insert(
    tx: &mut Tx,
    tenant: &str,
    analysis: &NewAnalysis<'_>,
    found: Vec<NewFinding>,
) -> Result<i64, DbError> {
    let sql = "INSERT INTO analyses (tenant_id, analysis_id, in_force, digest, pairs, incomplete, at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";
    let a = analysis;
    let values = args![tenant, a.analysis_id, a.in_force, a.digest, a.pairs, a.incomplete, a.at];
    let (key,): (i64,) = tx.fetch_one(sql, values).await?;
    let columns = [
        "tenant_id",
        "finding_id",
        "identity",
        "kind",
        "severity",
        "rule_id",
        "other_rule_id",
        "body",
        "found_at",
    ];
    let identities: Vec<Digest> = found.iter().map(|f| f.identity).collect();
    let row = |f: NewFinding| {
        args![
            tenant,
            f.finding_id,
            f.identity,
            f.kind,
            f.severity,
            f.rule_id,
            f.other_rule_id,
            f.body,
            analysis.at
        ]
    };
    let rows = found.into_iter().map(row).collect();
    tx.insert_rows("findings", &columns, rows, "ON CONFLICT (tenant_id, identity) DO NOTHING").await?;
    let mut links = Vec::with_capacity(identities.len());
    for identity in identities {
        let sql = "SELECT id FROM findings WHERE tenant_id = $1 AND identity = $2";
        let (finding,): (i64,) = tx.fetch_one(sql, args![tenant, identity]).await?;
        links.push(args![key, finding]);
    }
    let columns = ["analysis_key", "finding_key"];
    tx.insert_rows("analysis_findings", &columns, links, "ON CONFLICT DO NOTHING").await?;
    Ok(key)
}

pub(crate) async fn of_analysis(tx: &mut Tx, key: i64, limit: i64) -> Result<Vec<FindingRow>, DbError> {
    tx.fetch_all(OF_ANALYSIS, args![key, limit]).await
}

pub(crate) async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<FindingRow>, DbError> {
    tx.fetch_optional(BY_ID, args![tenant, id]).await
}

/// Says that a finding is known; what was said first stays.
pub(crate) async fn acknowledge(
    tx: &mut Tx,
    key: i64,
    actor: (i32, &str),
    reason: &str,
    at: Micros,
) -> Result<(), DbError> {
    let sql = "INSERT INTO finding_acks (finding_key, reason, actor_type, actor_id, at) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT DO NOTHING";
    tx.execute(sql, args![key, reason, actor.0, actor.1, at]).await?;
    Ok(())
}
