//! One connection of either engine.

use std::str::FromStr;

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr,
    postgres::{PgConnectOptions, PgConnection},
};

use crate::{
    Args, DbError, Dialect, FromRow, Row, StoreConfig, Tuning,
    column::{columns, kinds},
    insert::Insert,
    row::Inner,
    sqlite,
    value::postgres,
};

/// Statements that one connection keeps prepared: multi-row inserts have one text per number of rows.
pub(crate) const STATEMENTS: usize = 512;

/// What every connection to PostgreSQL is set to. Statements here touch few rows: compiling one, or starting processes to
/// share it, takes longer than running it. A server or role that defaults to asynchronous commits would make "durable"
/// untrue.
const SESSION: [(&str, &str); 3] =
    [("synchronous_commit", "on"), ("jit", "off"), ("max_parallel_workers_per_gather", "0")];

/// What only the writer is set to. It finds rows by their keys, and its plans are made while tables are still empty or
/// small, when reading all of one looks cheaper than an index; such a plan would be kept while the table grows.
const WRITER: [(&str, &str); 3] =
    [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")];

/// How to reach the store of one domain.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Sqlite(sqlite::Store),
    Postgres { options: Box<PgConnectOptions>, schema: String },
}

impl Target {
    /// Checks the configuration and makes what has to exist before a connection does.
    pub(crate) fn new(config: &StoreConfig, domain: &str, tuning: &Tuning) -> Result<Self, DbError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if domain.is_empty()
            || !domain.starts_with(|c: char| c.is_ascii_lowercase())
            || !domain.chars().all(plain)
        {
            return Err(DbError::Config(format!("{domain:?} is no name for a store: use a-z, 0-9 and _")));
        }
        match config {
            StoreConfig::Sqlite { dir } => {
                std::fs::create_dir_all(dir)
                    .map_err(|error| DbError::Config(format!("{}: {error}", dir.display())))?;
                let file = dir.join(format!("{domain}.db"));
                Ok(Self::Sqlite(sqlite::Store::new(file, tuning.acquire_timeout)))
            }
            StoreConfig::Postgres { url } => {
                let options = PgConnectOptions::from_str(url)
                    .map_err(|_| DbError::Config("the URL of PostgreSQL is malformed".to_owned()))?
                    .application_name(&format!("runspine-{domain}"))
                    .statement_cache_capacity(STATEMENTS)
                    .options([("search_path", domain)])
                    .options(SESSION);
                Ok(Self::Postgres { options: Box::new(options), schema: domain.to_owned() })
            }
        }
    }

    /// A new connection that may write.
    pub(crate) async fn connect(&self) -> Result<Conn, DbError> {
        Ok(match self {
            Self::Sqlite(store) => Conn::Sqlite(store.writer()?),
            Self::Postgres { options, .. } => {
                Conn::Postgres((**options).clone().options(WRITER).connect().await?)
            }
        })
    }
}

/// A connection. Calls of SQLite are done when they return: they keep the thread, and never wait for another.
pub(crate) enum Conn {
    Sqlite(rusqlite::Connection),
    Postgres(PgConnection),
}

impl Conn {
    pub(crate) const fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs one prepared statement and says how many rows it changed.
    pub(crate) async fn execute(&mut self, sql: impl SqlSafeStr, args: Args) -> Result<u64, DbError> {
        let sql = sql.into_sql_str();
        match self {
            Self::Sqlite(c) => sqlite::execute(c, sql.as_str(), &args),
            Self::Postgres(c) => Ok(sqlx::query_with(sql, postgres(args)?).execute(c).await?.rows_affected()),
        }
    }

    /// Runs statements that take no arguments and are not worth preparing, in one round trip.
    pub(crate) async fn raw(&mut self, sql: impl SqlSafeStr) -> Result<(), DbError> {
        let sql = sql.into_sql_str();
        match self {
            Self::Sqlite(c) => c.execute_batch(sql.as_str())?,
            Self::Postgres(c) => sqlx::raw_sql(sql).execute(c).await.map(|_| ())?,
        }
        Ok(())
    }

    /// Runs the few statements that begin and end transactions and savepoints, in one round trip.
    pub(crate) async fn steer(&mut self, statements: &[&'static str]) -> Result<(), DbError> {
        match self {
            Self::Sqlite(c) => statements.iter().try_for_each(|sql| {
                c.prepare_cached(sql)?.raw_execute()?;
                Ok(())
            }),
            Self::Postgres(_) => self.raw(AssertSqlSafe(statements.join("; "))).await,
        }
    }

    pub(crate) async fn all<R: FromRow>(
        &mut self,
        sql: impl SqlSafeStr,
        args: Args,
    ) -> Result<Vec<R>, DbError> {
        let sql = sql.into_sql_str();
        match self {
            Self::Sqlite(c) => sqlite::all(c, sql.as_str(), &args),
            Self::Postgres(c) => {
                let rows = sqlx::query_with(sql, postgres(args)?).fetch_all(c).await?;
                rows.iter().map(|row| R::from_row(&Row(Inner::Postgres(row)))).collect()
            }
        }
    }

    pub(crate) async fn optional<R: FromRow>(
        &mut self,
        sql: impl SqlSafeStr,
        args: Args,
    ) -> Result<Option<R>, DbError> {
        let sql = sql.into_sql_str();
        match self {
            Self::Sqlite(c) => sqlite::optional(c, sql.as_str(), &args),
            Self::Postgres(c) => {
                let row = sqlx::query_with(sql, postgres(args)?).fetch_optional(c).await?;
                row.map(|row| R::from_row(&Row(Inner::Postgres(&row)))).transpose()
            }
        }
    }

    /// Inserts `rows` with one statement and says how many were inserted.
    pub(crate) async fn insert(&mut self, insert: &Insert<'_>, rows: Vec<Args>) -> Result<u64, DbError> {
        match self {
            Self::Sqlite(c) => sqlite::insert(c, &insert.values(rows.len()), &rows),
            Self::Postgres(c) => {
                let kinds = kinds(&rows);
                let sql = AssertSqlSafe(insert.unnest(&kinds));
                let done = sqlx::query_with(sql, postgres(columns(&kinds, rows)?)?).execute(c).await?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Inserts `rows` with one statement and reads what it returns of each inserted row.
    pub(crate) async fn insert_returning<R: FromRow>(
        &mut self,
        insert: &Insert<'_>,
        rows: Vec<Args>,
    ) -> Result<Vec<R>, DbError> {
        match self {
            Self::Sqlite(c) => sqlite::insert_returning(c, &insert.values(rows.len()), &rows),
            Self::Postgres(c) => {
                let kinds = kinds(&rows);
                let sql = AssertSqlSafe(insert.unnest(&kinds));
                let found = sqlx::query_with(sql, postgres(columns(&kinds, rows)?)?).fetch_all(c).await?;
                found.iter().map(|row| R::from_row(&Row(Inner::Postgres(row)))).collect()
            }
        }
    }

    /// Ends the connection in order.
    pub(crate) async fn close(self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(c) => c.close().map_err(|(_, error)| error.into()),
            Self::Postgres(c) => Ok(c.close().await?),
        }
    }
}
