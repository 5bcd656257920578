//! Reads: a pool of their own, so that they never wait for the writer.

use sqlx::{
    Executor as _, PgPool, SqlSafeStr, SqlitePool, Transaction, pool::PoolOptions, postgres::Postgres,
    sqlite::Sqlite,
};

use crate::{
    Args, DbError, Dialect, FromRow, Row, Tuning,
    conn::Target,
    row::Inner,
    value::{postgres, sqlite},
};

/// The reading side of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Read(Pools);

#[derive(Debug, Clone)]
enum Pools {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Runs `$call` (`fetch_all` or `fetch_optional`) on either engine and hands the rows to `$wrap`.
macro_rules! fetch {
    ($engine:ident, $conn:expr, $args:ident, $sql:expr, $call:ident) => {
        sqlx::query_with($sql, $args?).$call($conn).await?.into_iter().map(|row| Row(Inner::$engine(row)))
    };
}

impl Read {
    pub(crate) async fn open(target: &Target, tuning: &Tuning) -> Result<Self, DbError> {
        Ok(Self(match target {
            Target::Sqlite(options) => {
                // The writer made the file; a reader must not be able to change it.
                let options = options.clone().create_if_missing(false).read_only(true);
                Pools::Sqlite(pool_options(tuning).connect_with(options).await?)
            }
            Target::Postgres { options, .. } => {
                let options = options.clone().options([("default_transaction_read_only", "on")]);
                Pools::Postgres(pool_options(tuning).connect_with(options).await?)
            }
        }))
    }

    /// The engine.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        match &self.0 {
            Pools::Sqlite(_) => Dialect::Sqlite,
            Pools::Postgres(_) => Dialect::Postgres,
        }
    }

    /// All rows of a query.
    ///
    /// # Errors
    /// When the query fails or a row can't be read as `R`; never an empty list instead.
    pub async fn fetch_all<R: FromRow>(&self, sql: impl SqlSafeStr, args: Args) -> Result<Vec<R>, DbError> {
        let sql = sql.into_sql_str();
        match &self.0 {
            Pools::Sqlite(pool) => {
                let args = sqlite(args);
                fetch!(Sqlite, pool, args, sql, fetch_all).map(|row| R::from_row(&row)).collect()
            }
            Pools::Postgres(pool) => {
                let args = postgres(args);
                fetch!(Postgres, pool, args, sql, fetch_all).map(|row| R::from_row(&row)).collect()
            }
        }
    }

    /// The first row of a query, if there is one.
    ///
    /// # Errors
    /// When the query fails or the row can't be read as `R`.
    pub async fn fetch_optional<R: FromRow>(
        &self,
        sql: impl SqlSafeStr,
        args: Args,
    ) -> Result<Option<R>, DbError> {
        let sql = sql.into_sql_str();
        let row = match &self.0 {
            Pools::Sqlite(pool) => {
                let args = sqlite(args);
                fetch!(Sqlite, pool, args, sql, fetch_optional).next()
            }
            Pools::Postgres(pool) => {
                let args = postgres(args);
                fetch!(Postgres, pool, args, sql, fetch_optional).next()
            }
        };
        row.map(|row| R::from_row(&row)).transpose()
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// [`DbError::NoRow`] when there is none; otherwise as [`Read::fetch_optional`].
    pub async fn fetch_one<R: FromRow>(&self, sql: impl SqlSafeStr, args: Args) -> Result<R, DbError> {
        self.fetch_optional(sql, args).await?.ok_or(DbError::NoRow)
    }

    /// Has the engine check a statement without running it.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub async fn prepare(&self, sql: impl SqlSafeStr) -> Result<(), DbError> {
        let sql = sql.into_sql_str();
        match &self.0 {
            Pools::Sqlite(pool) => drop(pool.prepare(sql).await?),
            Pools::Postgres(pool) => drop(pool.prepare(sql).await?),
        }
        Ok(())
    }

    /// Begins a read in which every statement sees the same state of the store: that of its first statement. Keep it
    /// short, for it holds a connection, and what it can see can't be cleaned up.
    ///
    /// # Errors
    /// When no connection is free in time.
    pub async fn snapshot(&self) -> Result<Snapshot, DbError> {
        Ok(Snapshot(match &self.0 {
            Pools::Sqlite(pool) => Transactions::Sqlite(pool.begin().await?),
            Pools::Postgres(pool) => Transactions::Postgres(
                pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?,
            ),
        }))
    }

    pub(crate) async fn close(&self) {
        match &self.0 {
            Pools::Sqlite(pool) => pool.close().await,
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

fn pool_options<D: sqlx::Database>(tuning: &Tuning) -> PoolOptions<D> {
    PoolOptions::new()
        .max_connections(tuning.readers.max(1))
        .min_connections(1)
        .acquire_timeout(tuning.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        // A ping before each use would double the round trips of a read.
        .test_before_acquire(false)
}

/// A read over several statements that all see one state. Ends when it is dropped.
pub struct Snapshot(Transactions);

enum Transactions {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Snapshot {
    /// All rows of a query.
    ///
    /// # Errors
    /// When the query fails or a row can't be read as `R`.
    pub async fn fetch_all<R: FromRow>(
        &mut self,
        sql: impl SqlSafeStr,
        args: Args,
    ) -> Result<Vec<R>, DbError> {
        let sql = sql.into_sql_str();
        match &mut self.0 {
            Transactions::Sqlite(tx) => {
                let args = sqlite(args);
                fetch!(Sqlite, &mut **tx, args, sql, fetch_all).map(|row| R::from_row(&row)).collect()
            }
            Transactions::Postgres(tx) => {
                let args = postgres(args);
                fetch!(Postgres, &mut **tx, args, sql, fetch_all).map(|row| R::from_row(&row)).collect()
            }
        }
    }

    /// The first row of a query, if there is one.
    ///
    /// # Errors
    /// When the query fails or the row can't be read as `R`.
    pub async fn fetch_optional<R: FromRow>(
        &mut self,
        sql: impl SqlSafeStr,
        args: Args,
    ) -> Result<Option<R>, DbError> {
        let sql = sql.into_sql_str();
        let row = match &mut self.0 {
            Transactions::Sqlite(tx) => {
                let args = sqlite(args);
                fetch!(Sqlite, &mut **tx, args, sql, fetch_optional).next()
            }
            Transactions::Postgres(tx) => {
                let args = postgres(args);
                fetch!(Postgres, &mut **tx, args, sql, fetch_optional).next()
            }
        };
        row.map(|row| R::from_row(&row)).transpose()
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// [`DbError::NoRow`] when there is none; otherwise as [`Snapshot::fetch_optional`].
    pub async fn fetch_one<R: FromRow>(&mut self, sql: impl SqlSafeStr, args: Args) -> Result<R, DbError> {
        self.fetch_optional(sql, args).await?.ok_or(DbError::NoRow)
    }
}
