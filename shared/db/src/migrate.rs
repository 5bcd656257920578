//! Numbered, checksummed migrations, embedded in the binary and applied when a store is opened.

use std::{
    fmt::Display,
    fs::{File, TryLockError},
    path::Path,
    time::{Duration, Instant},
};

use runspine_types::{Clock as _, Digest, SystemClock, hash};
use sqlx::AssertSqlSafe;
use tokio::time::sleep;

use crate::{
    DbError, Dialect, append_only, args,
    conn::{Conn, Target},
};

/// One step of the schema, one text for each engine.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its number, from 1 without gaps.
    pub version: i64,
    /// Its name, e.g. `0001_traces`.
    pub name: &'static str,
    /// The text for SQLite; may hold several statements.
    pub sqlite: &'static str,
    /// The text for PostgreSQL; may hold several statements.
    pub postgres: &'static str,
}

/// The schema of a domain.
#[derive(Debug, Clone, Copy, Default)]
pub struct Migrations {
    /// All steps in the order of their versions.
    pub steps: &'static [Migration],
    /// Tables whose rows are never updated or deleted; the engine refuses it.
    pub append_only: &'static [&'static str],
}

/// Embeds `migrations/{sqlite,postgres}/<name>.sql` of the calling crate, and names its append-only tables.
///
/// ```ignore
/// pub const MIGRATIONS: Migrations = runspine_db::migrations! {
///     steps: [1 => "0001_traces", 2 => "0002_seals"],
///     append_only: ["traces", "seals"],
/// };
/// ```
#[macro_export]
macro_rules! migrations {
    (steps: [$($version:literal => $name:literal),* $(,)?], append_only: [$($table:literal),* $(,)?] $(,)?) => {
        $crate::Migrations {
            steps: &[$($crate::Migration {
                version: $version,
                name: $name,
                sqlite: include_str!(
                    concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/sqlite/", $name, ".sql")
                ),
                postgres: include_str!(
                    concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/postgres/", $name, ".sql")
                ),
            }),*],
            append_only: &[$($table),*],
        }
    };
}

/// What every store has: outbox, cursors, kept answers.
const BASE: Migrations = crate::migrations! { steps: [1 => "0001_base"], append_only: [] };

/// Serializes concurrent starters on PostgreSQL; the number is arbitrary and must never change.
const LOCK: i64 = 0x5275_6e73_7069_6e65;

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
    scope TEXT NOT NULL, version BIGINT NOT NULL, name TEXT NOT NULL, checksum TEXT NOT NULL,
    applied_at BIGINT NOT NULL, PRIMARY KEY (scope, version))";

/// Held while a store is brought up to date. On SQLite a lock on a file beside the store, because turning WAL on does
/// not wait for others that do the same; PostgreSQL has advisory locks instead.
pub(crate) struct Starting(#[allow(dead_code, reason = "unlocked when it is dropped")] Option<File>);

/// Waits for other starters and makes what must exist before a connection can be used.
pub(crate) async fn prepare(target: &Target, patience: Duration) -> Result<Starting, DbError> {
    let schema = match target {
        Target::Postgres { schema, .. } => schema,
        Target::Sqlite(store) => {
            let path = store.path().with_extension("lock");
            return Ok(Starting(Some(lock(&path, patience).await?)));
        }
    };
    let mut conn = target.connect().await?;
    locked(&mut conn, async |conn| {
        // Even IF NOT EXISTS needs the right to create, which a role that only owns its schema does not have.
        let found: Option<(i64,)> = conn
            .optional("SELECT 1::bigint FROM pg_namespace WHERE nspname = $1", args![schema.as_str()])
            .await?;
        match found {
            Some(_) => Ok(()),
            None => conn.raw(AssertSqlSafe(format!("CREATE SCHEMA {schema}"))).await,
        }
    })
    .await?;
    conn.close().await?;
    Ok(Starting(None))
}

async fn lock(path: &Path, patience: Duration) -> Result<File, DbError> {
    let wrong = |error: &dyn Display| DbError::Config(format!("{}: {error}", path.display()));
    let file = File::create(path).map_err(|error| wrong(&error))?;
    let end = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => sleep(Duration::from_millis(5)).await,
            Err(error) => return Err(wrong(&error)),
        }
    }
}

/// Brings the schema up to date, or refuses. Gives the names of the domain's steps that it applied.
pub(crate) async fn run(
    conn: &mut Conn,
    domain: &str,
    migrations: Migrations,
) -> Result<Vec<&'static str>, DbError> {
    locked(conn, async |conn| {
        conn.raw(HISTORY).await?;
        scope(conn, "base", BASE).await?;
        scope(conn, domain, migrations).await
    })
    .await
}

async fn locked<T>(
    conn: &mut Conn,
    work: impl AsyncFnOnce(&mut Conn) -> Result<T, DbError>,
) -> Result<T, DbError> {
    if conn.dialect() == Dialect::Sqlite {
        return work(conn).await;
    }
    conn.execute("SELECT pg_advisory_lock($1)", args![LOCK]).await?;
    let done = work(conn).await;
    let unlocked = conn.execute("SELECT pg_advisory_unlock($1)", args![LOCK]).await;
    // The first failure is the one that explains the other.
    done.and_then(|done| unlocked.map(|_| done))
}

async fn scope(conn: &mut Conn, scope: &str, migrations: Migrations) -> Result<Vec<&'static str>, DbError> {
    for (step, expected) in migrations.steps.iter().zip(1..) {
        if step.version != expected {
            return Err(DbError::Migration(format!("{scope}: {} should have number {expected}", step.name)));
        }
    }
    let known = migrations.steps.last().map_or(0, |step| step.version);
    // Inside the write transaction, so that on SQLite too only one starter applies a step.
    conn.raw(conn.dialect().pick("BEGIN IMMEDIATE", "BEGIN")).await?;
    let history: Vec<(i64, String, String)> = conn
        .all(
            "SELECT version, name, checksum FROM schema_migrations WHERE scope = $1 ORDER BY version",
            args![scope],
        )
        .await?;
    conn.raw("COMMIT").await?;
    for (version, name, checksum) in &history {
        let Some(step) = migrations.steps.iter().find(|step| step.version == *version) else {
            return Err(DbError::Migration(format!(
                "{scope}: the database has {name} ({version}), newer than this binary, which knows {known}"
            )));
        };
        if checksum_of(conn.dialect(), step).to_hex() != *checksum {
            return Err(DbError::Migration(format!(
                "{scope}: {} was changed after it was applied",
                step.name
            )));
        }
    }
    let mut done = Vec::new();
    for step in migrations.steps.iter().skip(history.len()) {
        match apply(conn, scope, step).await {
            Ok(true) => done.push(step.name),
            Ok(false) => {}
            Err(error) => {
                conn.raw("ROLLBACK").await?;
                return Err(DbError::Migration(format!("{scope}: {} failed: {error}", step.name)));
            }
        }
    }
    append_only::install(conn, migrations.append_only).await?;
    Ok(done)
}

/// One step in one transaction; false: another starter was faster.
async fn apply(conn: &mut Conn, scope: &str, step: &Migration) -> Result<bool, DbError> {
    conn.raw(conn.dialect().pick("BEGIN IMMEDIATE", "BEGIN")).await?;
    let checksum = checksum_of(conn.dialect(), step).to_hex();
    let row = args![scope, step.version, step.name, checksum, SystemClock.now()];
    let sql = "INSERT INTO schema_migrations (scope, version, name, checksum, applied_at) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    let first = conn.execute(sql, row).await? == 1;
    if first {
        conn.raw(text_of(conn.dialect(), step)).await?;
        tracing::info!(scope, migration = step.name, "applied");
    }
    conn.raw("COMMIT").await?;
    Ok(first)
}

const fn text_of(dialect: Dialect, step: &Migration) -> &'static str {
    dialect.pick(step.sqlite, step.postgres)
}

fn checksum_of(dialect: Dialect, step: &Migration) -> Digest {
    hash(text_of(dialect, step).as_bytes())
}
