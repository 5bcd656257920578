//! Approvals, their votes and uses, and the history of what happened to them.

use runspine_db::{DbError, Read, Tx, args, row};
use runspine_policies_domain::{
    approval::{Approval, Held},
    words::{ApprovalLevel, ApprovalState},
};
use runspine_types::{Digest, Micros};

row! {
    /// An approval as it is stored.
    #[derive(Debug, Clone)]
    pub(crate) struct ApprovalRow {
        pub id: i64,
        pub approval_id: String,
        pub run_key: i64,
        pub run_id: String,
        pub attempt: u32,
        pub step_index: i64,
        pub decision_id: String,
        pub action_digest: Digest,
        pub deed_digest: Digest,
        pub snapshot_digest: Digest,
        pub rules: String,
        pub agent_id: String,
        pub owner_id: String,
        pub human_id: String,
        pub quorum: u32,
        pub state: i32,
        pub level: i32,
        pub escalations: u32,
        pub created_at: Micros,
        pub expires_at: Micros,
        pub escalates_at: Micros,
        pub use_by: Option<Micros>,
        pub version: i64,
        pub approvals: u32,
        pub tenant_id: String,
        pub use_within_s: i64,
        pub escalates_s: i64,
    }
}

row! {
    /// A vote.
    #[derive(Debug, Clone)]
    pub(crate) struct VoteRow {
        pub voter_id: String,
        pub kind: i32,
        pub level: u32,
        pub note: String,
        pub at: Micros,
    }
}

row! {
    /// One change of an approval.
    #[derive(Debug, Clone)]
    pub(crate) struct TransitionRow {
        pub event: i64,
        pub approval_id: String,
        pub from_state: i32,
        pub to_state: i32,
        pub reason: String,
        pub at: Micros,
    }
}

/// A change to note in the history.
#[derive(Debug, Clone)]
pub(crate) struct Moved {
    pub from: i32,
    pub to: i32,
    pub level: i32,
    pub reason: String,
    pub actor: (i32, String),
    pub at: Micros,
}

impl ApprovalRow {
    /// The part that changes. A state or level that nobody knows never approves anything.
    pub(crate) fn approval(&self) -> Approval {
        Approval {
            state: ApprovalState::from_code(self.state).unwrap_or(ApprovalState::Cancelled),
            level: ApprovalLevel::from_code(self.level).unwrap_or(ApprovalLevel::Owner),
            escalations: self.escalations,
            escalates_at: self.escalates_at,
            expires_at: self.expires_at,
            use_by: self.use_by,
            use_within_s: self.use_within_s,
            escalates_s: self.escalates_s,
        }
    }

    /// The rules that demanded it.
    pub(crate) fn rules(&self) -> Vec<String> {
        serde_json::from_str(&self.rules).unwrap_or_default()
    }

    /// As a decision about the step `(run_key, step_index)` sees it.
    pub(crate) fn held(&self, run_key: i64, step_index: i64) -> Held {
        Held {
            approval_id: self.approval_id.clone(),
            of_this_step: (self.run_key, self.step_index) == (run_key, step_index),
            action: self.action_digest,
            deed: self.deed_digest,
            snapshot: self.snapshot_digest,
            rules: self.rules(),
            approval: self.approval(),
        }
    }
}

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT a.id, a.approval_id, a.run_key, a.run_id, a.attempt, a.step_index, a.decision_id, ",
            "a.action_digest, a.deed_digest, a.snapshot_digest, a.rules, a.agent_id, a.owner_id, a.human_id, ",
            "a.quorum, a.state, a.level, a.escalations, a.created_at, a.expires_at, a.escalates_at, a.use_by, ",
            "a.version, a.tenant_id, a.use_within_s, a.escalates_s, (SELECT COUNT(*) FROM approval_votes v WHERE v.approval_key = a.id ",
            "AND v.kind = 1) AS approvals FROM approvals a",
            $tail
        )
    };
}

/// For lists.
pub(crate) const APPROVAL: &str = select!("");
const BY_ID: &str = select!(" WHERE a.tenant_id = $1 AND a.approval_id = $2");
const OF_ATTEMPT: &str =
    select!(" WHERE a.tenant_id = $1 AND (a.run_key = $2 OR a.approval_id = $3) ORDER BY a.id");
const LIVE_OF_RUN: &str = select!(
    " WHERE a.tenant_id = $1 AND a.run_id = $2 AND ($3 = 0 OR a.attempt = $3) AND a.state IN (1, 2, 3) ORDER BY a.id"
);
const LIVE_OF_SNAPSHOT: &str =
    select!(" WHERE a.tenant_id = $1 AND a.snapshot_digest = $2 AND a.state IN (1, 2, 3) ORDER BY a.id");
const DUE: &str = select!(" WHERE a.state IN (1, 2, 3) AND a.due_at <= $1 ORDER BY a.due_at LIMIT $2");

/// No time does anything to it any more.
const NEVER: Micros = Micros(i64::MAX);

pub(crate) async fn read(read: &Read, tenant: &str, id: &str) -> Result<Option<ApprovalRow>, DbError> {
    read.fetch_optional(BY_ID, args![tenant, id]).await
}

pub(crate) async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<ApprovalRow>, DbError> {
    tx.fetch_optional(BY_ID, args![tenant, id]).await
}

/// Every approval of an attempt, oldest first, and the named one wherever it is.
pub(crate) async fn of_attempt(
    read: &Read,
    tenant: &str,
    run_key: i64,
    named: &str,
) -> Result<Vec<ApprovalRow>, DbError> {
    read.fetch_all(OF_ATTEMPT, args![tenant, run_key, named]).await
}

/// Approvals of a run that could still be decided or used; attempt 0: of all attempts.
pub(crate) async fn live_of_run(
    tx: &mut Tx,
    tenant: &str,
    run_id: &str,
    attempt: u32,
) -> Result<Vec<ApprovalRow>, DbError> {
    tx.fetch_all(LIVE_OF_RUN, args![tenant, run_id, attempt]).await
}

/// Approvals under a snapshot that could still be decided or used.
pub(crate) async fn live_of_snapshot(
    tx: &mut Tx,
    tenant: &str,
    digest: Digest,
) -> Result<Vec<ApprovalRow>, DbError> {
    tx.fetch_all(LIVE_OF_SNAPSHOT, args![tenant, digest]).await
}

/// Approvals of all tenants to which time has done something that nobody stored yet.
pub(crate) async fn due(read: &Read, now: Micros, limit: i64) -> Result<Vec<ApprovalRow>, DbError> {
    read.fetch_all(DUE, args![now, limit]).await
}

/// Open requests of a tenant.
pub(crate) async fn open(read: &Read, tenant: &str) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM approvals WHERE tenant_id = $1 AND state IN (1, 2)";
    let count: Option<(u64,)> = read.fetch_optional(sql, args![tenant]).await?;
    Ok(count.map_or(0, |(n,)| n))
}

/// Approvals of an attempt that were rejected.
pub(crate) async fn rejected(tx: &mut Tx, run_key: i64) -> Result<u32, DbError> {
    let sql = "SELECT COUNT(*) FROM approvals WHERE run_key = $1 AND state = 6";
    Ok(tx.fetch_one::<(u32,)>(sql, args![run_key]).await?.0)
}

/// Stores a request; `None` when one is open for the same action of the same step.
pub(crate) async fn insert(tx: &mut Tx, tenant: &str, row: &ApprovalRow) -> Result<Option<i64>, DbError> {
    let sql = "INSERT INTO approvals (tenant_id, approval_id, run_key, run_id, attempt, step_index, decision_id, \
               action_digest, deed_digest, snapshot_digest, rules, agent_id, owner_id, human_id, quorum, state, level, \
               escalations, created_at, expires_at, escalates_at, use_by, due_at, use_within_s, escalates_s, version) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
               $22, $23, $24, $25, 1) \
               ON CONFLICT DO NOTHING RETURNING id";
    let due = row.approval().due().map_or(NEVER, |(at, _)| at);
    let values = args![
        tenant,
        &row.approval_id,
        row.run_key,
        &row.run_id,
        row.attempt,
        row.step_index,
        &row.decision_id,
        row.action_digest,
        row.deed_digest,
        row.snapshot_digest,
        &row.rules,
        &row.agent_id,
        &row.owner_id,
        &row.human_id,
        row.quorum,
        row.state,
        row.level,
        row.escalations,
        row.created_at,
        row.expires_at,
        row.escalates_at,
        row.use_by,
        due,
        row.use_within_s,
        row.escalates_s,
    ];
    Ok(tx.fetch_optional::<(i64,)>(sql, values).await?.map(|(id,)| id))
}

/// Changes an approval if it is what was read; `false`: somebody else changed it first.
pub(crate) async fn update(tx: &mut Tx, (key, version): (i64, i64), to: &Approval) -> Result<bool, DbError> {
    let sql = "UPDATE approvals SET state = $3, level = $4, escalations = $5, escalates_at = $6, use_by = $7, \
               due_at = $8, version = version + 1 WHERE id = $1 AND version = $2";
    let values = args![
        key,
        version,
        to.state.code(),
        to.level.code(),
        to.escalations,
        to.escalates_at,
        to.use_by,
        to.due().map_or(NEVER, |(at, _)| at),
    ];
    Ok(tx.execute(sql, values).await? == 1)
}

/// Notes a change in the history.
pub(crate) async fn note(tx: &mut Tx, key: i64, moved: &Moved) -> Result<(), DbError> {
    let sql = "INSERT INTO approval_transitions (approval_key, from_state, to_state, level, reason, actor_type, \
               actor_id, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let Moved { from, to, level, reason, actor, at } = moved;
    tx.execute(sql, args![key, *from, *to, *level, reason, actor.0, &actor.1, *at]).await?;
    Ok(())
}

/// Stores a use; `false` when the approval was used before.
pub(crate) async fn spend(tx: &mut Tx, key: i64, decision_id: &str, at: Micros) -> Result<bool, DbError> {
    let sql = "INSERT INTO approval_uses (approval_key, decision_id, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, args![key, decision_id, at]).await? == 1)
}

/// A vote to store.
pub(crate) struct NewVote<'a> {
    pub key: i64,
    pub voter_id: &'a str,
    pub kind: i32,
    pub level: i32,
    pub action: Digest,
    pub note: &'a str,
    pub at: Micros,
}

/// Stores a vote; `false` when the person has voted.
pub(crate) async fn vote(tx: &mut Tx, vote: &NewVote<'_>) -> Result<bool, DbError> {
    let sql = "INSERT INTO approval_votes (approval_key, voter_id, kind, level, action_digest, note, at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let values = args![vote.key, vote.voter_id, vote.kind, vote.level, vote.action, vote.note, vote.at];
    Ok(tx.execute(sql, values).await? == 1)
}

/// The votes of an approval, oldest first.
pub(crate) async fn votes(read: &Read, key: i64) -> Result<Vec<VoteRow>, DbError> {
    let sql =
        "SELECT voter_id, kind, level, note, at FROM approval_votes WHERE approval_key = $1 ORDER BY id";
    read.fetch_all(sql, args![key]).await
}

/// Whether a person has voted on an approval.
pub(crate) async fn has_voted(read: &Read, key: i64, person: &str) -> Result<bool, DbError> {
    let sql = "SELECT id FROM approval_votes WHERE approval_key = $1 AND voter_id = $2";
    Ok(read.fetch_optional::<(i64,)>(sql, args![key, person]).await?.is_some())
}

/// Changes of a tenant's approvals after one of them, oldest first; an empty run id: of every run.
pub(crate) async fn changes(
    read: &Read,
    tenant: &str,
    run_id: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<TransitionRow>, DbError> {
    let sql = "SELECT t.id AS event, a.approval_id, t.from_state, t.to_state, t.reason, t.at \
               FROM approval_transitions t JOIN approvals a ON a.id = t.approval_key \
               WHERE a.tenant_id = $1 AND ($2 = '' OR a.run_id = $2) AND t.id > $3 ORDER BY t.id LIMIT $4";
    read.fetch_all(sql, args![tenant, run_id, after, limit]).await
}

/// The newest change of all.
pub(crate) async fn last_change(read: &Read) -> Result<i64, DbError> {
    let sql = "SELECT COALESCE(MAX(id), 0) FROM approval_transitions";
    Ok(read.fetch_optional::<(i64,)>(sql, args![]).await?.map_or(0, |(id,)| id))
}
