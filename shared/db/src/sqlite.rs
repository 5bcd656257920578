//! SQLite, called in place: a statement costs no change of threads. Whoever calls decides on which thread that is, for
//! a statement may wait for the disk.

mod readers;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{CachedStatement, Connection, OpenFlags, config::DbConfig};

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
        // Else a statement whose argument might make a partial index fit is compiled again for each use.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        conn.execute_batch(SETTINGS)?;
        Ok(conn)
    }
}

/// Runs one prepared statement and says how many rows it changed.
pub(crate) fn execute(conn: &Connection, sql: &str, args: &Args) -> Result<u64, DbError> {
    finish(bound(conn, sql, args)?, conn)
}

/// Runs one prepared insert of many rows and says how many it inserted.
pub(crate) fn insert(conn: &Connection, sql: &str, rows: &[Args]) -> Result<u64, DbError> {
    finish(filled(conn, sql, rows)?, conn)
}

/// The same, and reads what it returns of each inserted row.
pub(crate) fn insert_returning<R: FromRow>(
    conn: &Connection,
    sql: &str,
    rows: &[Args],
) -> Result<Vec<R>, DbError> {
    collect(filled(conn, sql, rows)?)
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
        take(&Row(Inner::Sqlite { row, in_order: false }))?;
    }
    Ok(())
}

/// All rows of a query.
pub(crate) fn all<R: FromRow>(conn: &Connection, sql: &str, args: &Args) -> Result<Vec<R>, DbError> {
    collect(bound(conn, sql, args)?)
}

/// The first row of a query, if there is one.
pub(crate) fn optional<R: FromRow>(conn: &Connection, sql: &str, args: &Args) -> Result<Option<R>, DbError> {
    let mut statement = bound(conn, sql, args)?;
    let mut rows = statement.raw_query();
    rows.next()?.map(|row| R::from_row(&Row(Inner::Sqlite { row, in_order: false }))).transpose()
}

fn finish(mut statement: CachedStatement<'_>, conn: &Connection) -> Result<u64, DbError> {
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(conn.changes())
}

fn collect<R: FromRow>(mut statement: CachedStatement<'_>) -> Result<Vec<R>, DbError> {
    let named =
        |(place, name): (usize, &&str)| statement.column_name(place).is_ok_and(|found| found == *name);
    let in_order = !R::TAKEN.is_empty() && R::TAKEN.iter().enumerate().all(named);
    let mut found = Vec::new();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        found.push(R::from_row(&Row(Inner::Sqlite { row, in_order }))?);
    }
    Ok(found)
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
        bind(&mut statement, place, value.ok_or(UNBOUND)?)?;
    }
    Ok(statement)
}

/// A prepared statement whose placeholders are `?` alone, with the values of rows one after the other.
fn filled<'c>(conn: &'c Connection, sql: &str, rows: &[Args]) -> Result<CachedStatement<'c>, DbError> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut bound = 0;
    for value in rows.iter().flatten() {
        bound += 1;
        bind(&mut statement, bound, value)?;
    }
    if bound == statement.parameter_count() { Ok(statement) } else { Err(UNBOUND) }
}

const UNBOUND: DbError = DbError::Argument("a placeholder has no argument");

fn bind(statement: &mut CachedStatement<'_>, place: usize, value: &Value) -> Result<(), DbError> {
    match value {
        Value::Refused(why) => Err(DbError::Argument(why)),
        value => Ok(statement.raw_bind_parameter(place, value)?),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::args;

    /// SQLite would choose by the value whether the partial index fits, and compile the statement again for each.
    #[test]
    fn a_statement_is_compiled_once() {
        let conn = Store::new(":memory:".into(), Duration::from_secs(1)).writer().unwrap();
        conn.execute_batch("CREATE TABLE t (a BIGINT, b BIGINT); CREATE INDEX t_a ON t (a) WHERE b = 1")
            .unwrap();
        let sql = "SELECT a FROM t WHERE a = $1 AND b = $2 ORDER BY a LIMIT 1";
        for value in 0..10_i64 {
            assert_eq!(
                insert(&conn, "INSERT INTO t (a, b) VALUES (?, ?)", &[args![value, value]]).unwrap(),
                1
            );
            assert_eq!(all::<(i64,)>(&conn, sql, &args![value, value]).unwrap(), [(value,)]);
        }
        assert_eq!(conn.prepare_cached(sql).unwrap().get_status(StatementStatus::RePrepare), 0);
    }

    #[test]
    fn every_placeholder_of_an_insert_has_a_value() {
        let conn = Store::new(":memory:".into(), Duration::from_secs(1)).writer().unwrap();
        conn.execute_batch("CREATE TABLE t (a BIGINT, b BIGINT)").unwrap();
        let short = insert(&conn, "INSERT INTO t (a, b) VALUES (?, ?)", &[args![1]]);
        assert!(matches!(short, Err(DbError::Argument(_))));
    }
}
