//! Rules, their versions and transitions; settings.

use bytes::Bytes;
use runspine_db::{DbError, Read, Tx, args, row};
use runspine_policies_domain::{snapshot::RuleRef, words::RuleState};
use runspine_types::{Digest, Micros};

row! {
    /// The head of a rule.
    #[derive(Debug, Clone)]
    pub(crate) struct HeadRow {
        pub rule_id: String,
        pub slug: String,
        pub mesh: bool,
        pub last_version: u32,
        pub active_version: u32,
        pub draft_version: u32,
        pub revision: u64,
        pub created_at: Micros,
    }
}

row! {
    /// One version of a rule.
    #[derive(Debug, Clone)]
    pub(crate) struct VersionRow {
        pub tenant_id: String,
        pub rule_id: String,
        pub version: u32,
        pub name: String,
        pub description: String,
        pub meaning: Bytes,
        pub rule_digest: Digest,
        pub mode: i32,
        pub scope: i32,
        pub category: i32,
        pub rule_type: i32,
        pub source: i32,
        pub parent_version: u32,
        pub author_type: i32,
        pub author_id: String,
        pub created_at: Micros,
        pub proposal_id: String,
        pub lesson_id: String,
        /// What its body was made from, as JSON; empty: somebody wrote it.
        pub template: String,
    }
}

row! {
    /// One transition of a version.
    #[derive(Debug, Clone)]
    pub(crate) struct TransitionRow {
        pub version: u32,
        pub from_state: i32,
        pub to_state: i32,
        pub reason: String,
        pub successor: String,
        pub actor_type: i32,
        pub actor_id: String,
        pub at: Micros,
    }
}

pub(crate) const HEAD: &str = "SELECT rule_id, slug, mesh, last_version, active_version, draft_version, revision, \
     created_at FROM rules WHERE tenant_id = $1 AND rule_id = $2";
macro_rules! versions {
    ($which:literal) => {
        concat!(
            "SELECT tenant_id, rule_id, version, name, description, meaning, rule_digest, mode, scope, category, \
             rule_type, source, parent_version, author_type, author_id, created_at, proposal_id, lesson_id, template \
             FROM rule_versions WHERE tenant_id = $1 AND rule_id = $2 ",
            $which
        )
    };
}
pub(crate) const VERSION: &str = versions!("AND version = $3");
pub(crate) const VERSIONS: &str = versions!("AND version < $3 ORDER BY version DESC LIMIT $4");
pub(crate) const TRANSITIONS: &str = "SELECT version, from_state, to_state, reason, successor, actor_type, actor_id, \
     at FROM rule_transitions WHERE tenant_id = $1 AND rule_id = $2 ORDER BY id";
pub(crate) const IN_FORCE: &str = "SELECT r.rule_id, v.version, v.rule_digest FROM rules r JOIN rule_versions v \
     ON v.tenant_id = r.tenant_id AND v.rule_id = r.rule_id AND v.version = r.active_version \
     WHERE r.tenant_id = $1 AND r.mesh = $2 AND r.active_version > 0 AND v.mode <> 4";

impl HeadRow {
    /// State of a version, as far as the head knows.
    pub(crate) const fn state_of(&self, version: u32) -> RuleState {
        if version == self.active_version {
            RuleState::Active
        } else if version == self.draft_version {
            RuleState::Draft
        } else {
            RuleState::Retired
        }
    }
}

pub(crate) async fn head(tx: &mut Tx, tenant: &str, rule_id: &str) -> Result<Option<HeadRow>, DbError> {
    tx.fetch_optional(HEAD, args![tenant, rule_id]).await
}

pub(crate) async fn version(
    tx: &mut Tx,
    tenant: &str,
    rule_id: &str,
    version: u32,
) -> Result<Option<VersionRow>, DbError> {
    tx.fetch_optional(VERSION, args![tenant, rule_id, version]).await
}

/// Makes the head of a rule; `false` when the slug is taken.
pub(crate) async fn insert_head(tx: &mut Tx, tenant: &str, head: &HeadRow) -> Result<bool, DbError> {
    let sql = "INSERT INTO rules (tenant_id, rule_id, slug, mesh, last_version, active_version, draft_version, \
               revision, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    let (v, a, d) = (head.last_version, head.active_version, head.draft_version);
    let values = args![tenant, &head.rule_id, &head.slug, head.mesh, v, a, d, head.revision, head.created_at];
    Ok(tx.execute(sql, values).await? == 1)
}

/// Changes the head of a rule if it still has the revision that was read; `false` otherwise.
pub(crate) async fn update_head(tx: &mut Tx, tenant: &str, head: &HeadRow) -> Result<bool, DbError> {
    let sql = "UPDATE rules SET last_version = $3, active_version = $4, draft_version = $5, revision = $6 + 1 \
               WHERE tenant_id = $1 AND rule_id = $2 AND revision = $6";
    let (v, a, d) = (head.last_version, head.active_version, head.draft_version);
    Ok(tx.execute(sql, args![tenant, &head.rule_id, v, a, d, head.revision]).await? == 1)
}

pub(crate) async fn insert_version(tx: &mut Tx, row: &VersionRow) -> Result<(), DbError> {
    let columns = [
        "tenant_id",
        "rule_id",
        "version",
        "name",
        "description",
        "meaning",
        "rule_digest",
        "mode",
        "scope",
        "category",
        "rule_type",
        "source",
        "parent_version",
        "author_type",
        "author_id",
        "created_at",
        "proposal_id",
        "lesson_id",
        "template",
    ];
    let values = args![
        &row.tenant_id,
        &row.rule_id,
        row.version,
        &row.name,
        &row.description,
        &row.meaning,
        row.rule_digest,
        row.mode,
        row.scope,
        row.category,
        row.rule_type,
        row.source,
        row.parent_version,
        row.author_type,
        &row.author_id,
        row.created_at,
        &row.proposal_id,
        &row.lesson_id,
        &row.template,
    ];
    tx.insert_rows("rule_versions", &columns, vec![values], "").await?;
    Ok(())
}

pub(crate) async fn insert_transition(
    tx: &mut Tx,
    tenant: &str,
    rule_id: &str,
    row: &TransitionRow,
) -> Result<(), DbError> {
    let sql = "INSERT INTO rule_transitions (tenant_id, rule_id, version, from_state, to_state, reason, successor, \
               actor_type, actor_id, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    let (from, to) = (row.from_state, row.to_state);
    let values = args![
        tenant,
        rule_id,
        row.version,
        from,
        to,
        &row.reason,
        &row.successor,
        row.actor_type,
        &row.actor_id,
        row.at,
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

/// The rules in force of a layer, by rule id.
pub(crate) async fn in_force(tx: &mut Tx, tenant: &str, mesh: bool) -> Result<Vec<RuleRef>, DbError> {
    let rows: Vec<(String, u32, Digest)> = tx.fetch_all(IN_FORCE, args![tenant, mesh]).await?;
    Ok(rows.into_iter().map(|(rule_id, version, digest)| RuleRef { rule_id, version, digest }).collect())
}

/// How many rules of a tenant have a version in force, and how many a draft.
pub(crate) async fn counts(tx: &mut Tx, tenant: &str) -> Result<(i64, i64), DbError> {
    let sql = "SELECT CAST(COALESCE(SUM(CASE WHEN active_version > 0 THEN 1 ELSE 0 END), 0) AS BIGINT), \
               CAST(COALESCE(SUM(CASE WHEN draft_version > 0 THEN 1 ELSE 0 END), 0) AS BIGINT) \
               FROM rules WHERE tenant_id = $1";
    tx.fetch_one(sql, args![tenant]).await
}

/// The stored bytes of versions by their digests.
pub(crate) async fn meanings(
    read: &Read,
    tenant: &str,
    digests: &[Digest],
) -> Result<Vec<(Digest, Bytes)>, DbError> {
    let mut found = Vec::with_capacity(digests.len());
    // One text for every chunk: the last is filled up with its first digest.
    for chunk in digests.chunks(64) {
        let mut values = args![tenant];
        values
            .extend(chunk.iter().chain(std::iter::repeat(&chunk[0])).take(64).map(runspine_db::Value::from));
        let places: Vec<String> = (2..=65).map(|n| format!("${n}")).collect();
        let sql = format!(
            "SELECT rule_digest, meaning FROM rule_versions WHERE tenant_id = $1 AND rule_digest IN ({})",
            places.join(",")
        );
        found.extend(read.fetch_all(runspine_db::AssertSqlSafe(sql), values).await?);
    }
    Ok(found)
}

/// The settings of a tenant as they were written last, with their version.
pub(crate) async fn settings(tx: &mut Tx, tenant: &str) -> Result<Option<(u64, Bytes)>, DbError> {
    tx.fetch_optional("SELECT version, body FROM settings WHERE tenant_id = $1", args![tenant]).await
}

/// Writes settings if they still have the version that was read; `false` otherwise.
pub(crate) async fn put_settings(
    tx: &mut Tx,
    tenant: &str,
    version: u64,
    body: &[u8],
) -> Result<bool, DbError> {
    let sql = "INSERT INTO settings (tenant_id, version, body) VALUES ($1, $2, $3) ON CONFLICT (tenant_id) \
               DO UPDATE SET version = excluded.version, body = excluded.body \
               WHERE settings.version = excluded.version - 1";
    Ok(tx.execute(sql, args![tenant, version, body]).await? == 1)
}
