//! SQLite, called in place: a statement costs no change of threads. Whoever calls decides on which thread that is, for
//! a statement may wait for the disk.

mod readers;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{CachedStatement, Connection, OpenFlags};

pub(crate) use readers::{Reader, Readers};

use crate::{Args, DbError, FromRow, Row, Value, conn::STATEMENTS, row::Inner};

/// What every connection is set to. `recursive_triggers`: without it `INSERT OR REPLACE` deletes rows past the
/// append-only triggers.
const SETTINGS: &str = "PRAGMA foreign_keys = ON; PRAGMA recursive_triggers = ON; PRAGMA temp_store = MEMORY; \
                        PRAGMA cache_size = -16384;";

/// What only the writer is set to. A page that is written often goes into the file once for 16 MiB of log.
const DURABLE: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 4000; \
                       PRAGMA journal_size_limit = 67108864;";

/// A store's file.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    path: PathBuf,
    /// How long a connection waits for the lock of another.
    busy: Duration,
}

impl Store {
    pub(crate) const fn new(path: PathBuf, busy: Duration) -> Self {
        Self { path, busy }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A connection that may write, and makes the file.
    pub(crate) fn writer(&self) -> Result<Connection, DbError> {
        let conn = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        conn.execute_batch(DURABLE)?;
        Ok(conn)
    }

    /// A connection that can't change anything, to a file that a writer made.
    fn reader(&self) -> Result<Connection, DbError> {
        self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection, DbError> {
        // One thread at a time has a connection, so SQLite need not lock it.
        let conn = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(self.busy)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS);
        conn.execute_batch(SETTINGS)?;
        Ok(conn)
    }
}

/// Runs one prepared statement and says how many rows it changed.
pub(crate) fn execute(conn: &Connection, sql: &str, args: &Args) -> Result<u64, DbError> {
    let mut statement = bound(conn, sql, args)?;
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(conn.changes())
}

/// Hands each row of a query to `take`.
pub(crate) fn each(
    conn: &Connection,
    sql: &str,
    args: &Args,
    mut take: impl FnMut(&Row<'_>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let mut statement = bound(conn, sql, args)?;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        take(&Row(Inner::Sqlite(row)))?;
    }
    Ok(())
}

/// All rows of a query.
pub(crate) fn all<R: FromRow>(conn: &Connection, sql: &str, args: &Args) -> Result<Vec<R>, DbError> {
    let mut found = Vec::new();
    each(conn, sql, args, |row| {
        found.push(R::from_row(row)?);
        Ok(())
    })?;
    Ok(found)
}

/// The first row of a query, if there is one.
pub(crate) fn optional<R: FromRow>(conn: &Connection, sql: &str, args: &Args) -> Result<Option<R>, DbError> {
    let mut statement = bound(conn, sql, args)?;
    let mut rows = statement.raw_query();
    rows.next()?.map(|row| R::from_row(&Row(Inner::Sqlite(row)))).transpose()
}

/// A prepared statement with its arguments. SQLite takes `$2` for a name and numbers names as they come, so the place of
/// each placeholder is not the number in its name.
fn bound<'c>(conn: &'c Connection, sql: &str, args: &Args) -> Result<CachedStatement<'c>, DbError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut unnamed = 0;
    for place in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(place) {
            Some(name) => name.get(1..).and_then(|number| number.parse::<usize>().ok()).unwrap_or(0),
            None => {
                unnamed += 1;
                unnamed
            }
        };
        let value = number.checked_sub(1).and_then(|at| args.get(at));
        match value {
            Some(Value::Refused(why)) => return Err(DbError::Argument(why)),
            Some(value) => statement.raw_bind_parameter(place, value)?,
            None => return Err(DbError::Argument("a placeholder has no argument")),
        }
    }
    Ok(statement)
}
