//! Lessons, the events that taught them, and what happened to them.

use bytes::Bytes;
use runspine_db::{DbError, Read, Tx, args, row};
use runspine_types::Micros;

row! {
    /// A lesson as it is stored.
    #[derive(Debug, Clone)]
    pub(crate) struct LessonRow {
        pub id: i64,
        pub tenant_id: String,
        pub version: u64,
        pub body: Bytes,
    }
}

row! {
    /// How many lessons of one kind.
    #[derive(Debug, Clone)]
    pub(crate) struct CountRow {
        pub kind: i32,
        pub state: i32,
        pub band: i32,
        pub count: u64,
    }
}

row! {
    /// Something that was counted on a lesson of a pattern.
    #[derive(Debug, Clone)]
    pub(crate) struct SupportRow {
        pub lesson_id: String,
        pub kind: i32,
        pub severity: i32,
        pub at: Micros,
    }
}

row! {
    /// All of them, and the worst.
    #[derive(Debug, Clone)]
    pub(crate) struct SupportCount {
        pub count: u32,
        /// The highest code of a severity, which is the worst; 0: none is bad.
        pub worst: i32,
    }
}

/// A lesson to store, or what it becomes.
pub(crate) struct Kept<'a> {
    pub lesson_id: &'a str,
    pub r#type: i32,
    pub state: i32,
    pub severity: i32,
    pub band: i32,
    pub is_synthetic: bool,
    /// What lessons of its pattern have in common.
    pub signature: &'a str,
    /// When time takes it up again.
    pub due_at: i64,
    pub body: Vec<u8>,
}

/// A change for the history.
pub(crate) struct Moved<'a> {
    pub from: i32,
    pub to: i32,
    pub reason: &'a str,
    pub actor: (i32, &'a str),
    pub at: Micros,
}

pub(crate) const LESSON: &str = "SELECT id, tenant_id, version, body FROM lessons";
pub(crate) const BY_ID: &str =
    "SELECT id, tenant_id, version, body FROM lessons WHERE tenant_id = $1 AND lesson_id = $2";
/// Those whose time came, oldest first.
pub(crate) const DUE: &str = "SELECT id, tenant_id, version, body FROM lessons WHERE state = 3 AND due_at <= $1 ORDER BY due_at, id LIMIT $2";
pub(crate) const STATS: &str = "SELECT type AS kind, state, band, COUNT(*) AS count FROM lessons \
     WHERE tenant_id = $1 AND is_synthetic = 0 AND created_at >= $2 AND created_at < $3 \
     GROUP BY type, state, band ORDER BY type, state, band";

pub(crate) async fn by_id(tx: &mut Tx, tenant: &str, id: &str) -> Result<Option<LessonRow>, DbError> {
    tx.fetch_optional(BY_ID, args![tenant, id]).await
}

pub(crate) async fn read(read: &Read, tenant: &str, id: &str) -> Result<Option<LessonRow>, DbError> {
    read.fetch_optional(BY_ID, args![tenant, id]).await
}

pub(crate) async fn due(read: &Read, now: Micros, most: i64) -> Result<Vec<LessonRow>, DbError> {
    read.fetch_all(DUE, args![now, most]).await
}

pub(crate) async fn stats(
    read: &Read,
    tenant: &str,
    since: i64,
    until: i64,
) -> Result<Vec<CountRow>, DbError> {
    read.fetch_all(STATS, args![tenant, since, until]).await
}

pub(crate) const SUPPORT: &str = "SELECT l.lesson_id, l.type AS kind, l.severity, s.at FROM lessons l \
     JOIN lesson_sources s ON s.tenant_id = l.tenant_id AND s.lesson_id = l.lesson_id \
     WHERE l.tenant_id = $1 AND l.signature = $2 AND s.at >= $3 AND l.is_synthetic = 0 ORDER BY s.id DESC LIMIT $4";
pub(crate) const SUPPORT_COUNT: &str = "SELECT COUNT(*) AS count, \
     COALESCE(MAX(l.severity), 0) AS worst FROM lessons l \
     JOIN lesson_sources s ON s.tenant_id = l.tenant_id AND s.lesson_id = l.lesson_id \
     WHERE l.tenant_id = $1 AND l.signature = $2 AND s.at >= $3 AND l.is_synthetic = 0";

/// What speaks for a pattern since a time: the newest of it, and how much there is.
pub(crate) async fn support(
    read: &Read,
    tenant: &str,
    (signature, since): (&str, i64),
    most: i64,
) -> Result<(Vec<SupportRow>, SupportCount), DbError> {
    let rows = read.fetch_all(SUPPORT, args![tenant, signature, since, most]).await?;
    let count = read.fetch_one(SUPPORT_COUNT, args![tenant, signature, since]).await?;
    Ok((rows, count))
}

/// The lesson that an event was counted on before.
pub(crate) async fn of_source(tx: &mut Tx, tenant: &str, key: &str) -> Result<Option<String>, DbError> {
    let sql = "SELECT lesson_id FROM lesson_sources WHERE tenant_id = $1 AND source_key = $2";
    let found: Option<(String,)> = tx.fetch_optional(sql, args![tenant, key]).await?;
    Ok(found.map(|(id,)| id))
}

/// Counts an event on a lesson, once.
pub(crate) async fn insert_source(
    tx: &mut Tx,
    tenant: &str,
    key: &str,
    lesson_id: &str,
    at: Micros,
) -> Result<(), DbError> {
    let sql = "INSERT INTO lesson_sources (tenant_id, source_key, lesson_id, at) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![tenant, key, lesson_id, at]).await?;
    Ok(())
}

/// Takes a slot, so that nobody else does until this commits: the lesson in it, and until when it counts.
pub(crate) async fn take_slot(tx: &mut Tx, tenant: &str, slot: &str) -> Result<(String, i64), DbError> {
    let sql = "INSERT INTO lesson_slots (tenant_id, slot, lesson_id, until) VALUES ($1, $2, '', 0) \
               ON CONFLICT (tenant_id, slot) DO UPDATE SET slot = excluded.slot RETURNING lesson_id, until";
    tx.fetch_one(sql, args![tenant, slot]).await
}

pub(crate) async fn put_slot(
    tx: &mut Tx,
    tenant: &str,
    slot: &str,
    lesson_id: &str,
    until: i64,
) -> Result<(), DbError> {
    let sql = "UPDATE lesson_slots SET lesson_id = $3, until = $4 WHERE tenant_id = $1 AND slot = $2";
    tx.execute(sql, args![tenant, slot, lesson_id, until]).await?;
    Ok(())
}

/// Stores a new lesson, and says its key.
pub(crate) async fn insert(tx: &mut Tx, tenant: &str, l: Kept<'_>, at: Micros) -> Result<i64, DbError> {
    let sql = "INSERT INTO lessons (tenant_id, lesson_id, type, state, severity, band, is_synthetic, due_at, version, \
               body, created_at, signature) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11) RETURNING id";
    let values = args![
        tenant,
        l.lesson_id,
        l.r#type,
        l.state,
        l.severity,
        l.band,
        l.is_synthetic,
        l.due_at,
        l.body,
        at,
        l.signature
    ];
    Ok(tx.fetch_one::<(i64,)>(sql, values).await?.0)
}

/// Changes a lesson if it still has the version that was read; `false` otherwise.
pub(crate) async fn update(tx: &mut Tx, id: i64, version: u64, l: Kept<'_>) -> Result<bool, DbError> {
    let sql = "UPDATE lessons SET state = $3, severity = $4, due_at = $5, body = $6, version = version + 1 \
               WHERE id = $1 AND version = $2";
    Ok(tx.execute(sql, args![id, version, l.state, l.severity, l.due_at, l.body]).await? == 1)
}

pub(crate) async fn insert_transition(tx: &mut Tx, id: i64, m: Moved<'_>) -> Result<(), DbError> {
    let sql = "INSERT INTO lesson_transitions (lesson_key, from_state, to_state, reason, actor_type, actor_id, at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.execute(sql, args![id, m.from, m.to, m.reason, m.actor.0, m.actor.1, m.at]).await?;
    Ok(())
}
