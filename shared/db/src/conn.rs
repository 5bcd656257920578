//! One connection of either engine.

use std::{path::Path, str::FromStr, time::Duration};

use sqlx::{
    ConnectOptions as _, Connection as _, SqlSafeStr,
    postgres::{PgConnectOptions, PgConnection},
    sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous},
};

use crate::{
    Args, DbError, Dialect, FromRow, Row, StoreConfig, Tuning,
    row::Inner,
    value::{postgres, sqlite},
};

/// Statements that one connection keeps prepared: multi-row inserts have one text per number of rows.
const STATEMENTS: usize = 512;

/// How to reach the store of one domain.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Sqlite(SqliteConnectOptions),
    Postgres { options: PgConnectOptions, schema: String },
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
                Ok(Self::Sqlite(sqlite_options(&dir.join(format!("{domain}.db")), tuning.acquire_timeout)))
            }
            StoreConfig::Postgres { url } => {
                let options = PgConnectOptions::from_str(url)
                    .map_err(|_| DbError::Config("the URL of PostgreSQL is malformed".to_owned()))?
                    .application_name(&format!("runspine-{domain}"))
                    .statement_cache_capacity(STATEMENTS)
                    // A server or role that defaults to asynchronous commits would make "durable" untrue.
                    .options([("search_path", domain), ("synchronous_commit", "on")]);
                Ok(Self::Postgres { options, schema: domain.to_owned() })
            }
        }
    }

    /// A new connection that may write.
    pub(crate) async fn connect(&self) -> Result<Conn, DbError> {
        Ok(match self {
            Self::Sqlite(options) => Conn::Sqlite(options.connect().await?),
            Self::Postgres { options, .. } => Conn::Postgres(options.connect().await?),
        })
    }
}

fn sqlite_options(file: &Path, busy: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(busy)
        .statement_cache_capacity(STATEMENTS)
        .row_buffer_size(512)
        // Without it `INSERT OR REPLACE` deletes rows past the append-only triggers.
        .pragma("recursive_triggers", "ON")
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-16384")
        .pragma("wal_autocheckpoint", "2000")
        .pragma("journal_size_limit", "67108864")
}

/// A connection.
pub(crate) enum Conn {
    Sqlite(SqliteConnection),
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
        Ok(match self {
            Self::Sqlite(c) => sqlx::query_with(sql, sqlite(args)?).execute(c).await?.rows_affected(),
            Self::Postgres(c) => sqlx::query_with(sql, postgres(args)?).execute(c).await?.rows_affected(),
        })
    }

    /// Runs statements that take no arguments and are not worth preparing, in one round trip.
    pub(crate) async fn raw(&mut self, sql: impl SqlSafeStr) -> Result<(), DbError> {
        match self {
            Self::Sqlite(c) => sqlx::raw_sql(sql).execute(c).await.map(|_| ())?,
            Self::Postgres(c) => sqlx::raw_sql(sql).execute(c).await.map(|_| ())?,
        }
        Ok(())
    }

    pub(crate) async fn all<R: FromRow>(
        &mut self,
        sql: impl SqlSafeStr,
        args: Args,
    ) -> Result<Vec<R>, DbError> {
        let sql = sql.into_sql_str();
        match self {
            Self::Sqlite(c) => {
                let rows = sqlx::query_with(sql, sqlite(args)?).fetch_all(c).await?;
                rows.into_iter().map(|row| R::from_row(&Row(Inner::Sqlite(row)))).collect()
            }
            Self::Postgres(c) => {
                let rows = sqlx::query_with(sql, postgres(args)?).fetch_all(c).await?;
                rows.into_iter().map(|row| R::from_row(&Row(Inner::Postgres(row)))).collect()
            }
        }
    }

    pub(crate) async fn optional<R: FromRow>(
        &mut self,
        sql: impl SqlSafeStr,
        args: Args,
    ) -> Result<Option<R>, DbError> {
        let sql = sql.into_sql_str();
        let row = match self {
            Self::Sqlite(c) => {
                let row = sqlx::query_with(sql, sqlite(args)?).fetch_optional(c).await?;
                row.map(Inner::Sqlite)
            }
            Self::Postgres(c) => {
                let row = sqlx::query_with(sql, postgres(args)?).fetch_optional(c).await?;
                row.map(Inner::Postgres)
            }
        };
        row.map(|row| R::from_row(&Row(row))).transpose()
    }

    /// Ends the connection in order.
    pub(crate) async fn close(self) -> Result<(), DbError> {
        match self {
            Self::Sqlite(c) => c.close().await?,
            Self::Postgres(c) => c.close().await?,
        }
        Ok(())
    }
}
