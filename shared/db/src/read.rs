//! Reads: a pool of their own, so that they never wait for the writer.

use sqlx::{Executor as _, PgPool, SqlSafeStr, Transaction, postgres::PgPoolOptions, postgres::Postgres};

use crate::{
    Args, DbError, Dialect, FromRow, Row, Tuning, Value,
    conn::Target,
    copy,
    row::Inner,
    sqlite::{self, Reader, Readers},
    value::postgres,
};

/// The reading side of a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Read(Pools);

#[derive(Debug, Clone)]
enum Pools {
    Sqlite(Readers),
    Postgres(PgPool),
}

impl Read {
    pub(crate) async fn open(target: &Target, tuning: &Tuning) -> Result<Self, DbError> {
        Ok(Self(match target {
            Target::Sqlite(store) => Pools::Sqlite(Readers::open(store.clone(), tuning).await?),
            Target::Postgres { options, .. } => {
                let options = (**options).clone().options([("default_transaction_read_only", "on")]);
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
            Pools::Sqlite(readers) => readers.run(move |conn| sqlite::all(conn, sql.as_str(), &args)).await,
            Pools::Postgres(pool) => {
                let rows = sqlx::query_with(sql, postgres(args)?).fetch_all(pool).await?;
                rows.iter().map(|row| R::from_row(&Row(Inner::Postgres(row)))).collect()
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
        match &self.0 {
            Pools::Sqlite(readers) => {
                readers.run(move |conn| sqlite::optional(conn, sql.as_str(), &args)).await
            }
            Pools::Postgres(pool) => {
                let row = sqlx::query_with(sql, postgres(args)?).fetch_optional(pool).await?;
                row.map(|row| R::from_row(&Row(Inner::Postgres(&row)))).transpose()
            }
        }
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// [`DbError::NoRow`] when there is none; otherwise as [`Read::fetch_optional`].
    pub async fn fetch_one<R: FromRow>(&self, sql: impl SqlSafeStr, args: Args) -> Result<R, DbError> {
        self.fetch_optional(sql, args).await?.ok_or(DbError::NoRow)
    }

    /// Folds the rows of a query into `state`, each where the engine holds it: for reads so long that copies of their rows
    /// would cost more than they. Its arguments are integers, and columns are read by their places.
    ///
    /// # Errors
    /// When the query fails, or `each` does.
    pub async fn fold<S: Send + 'static>(
        &self,
        sql: &'static str,
        keys: &[i64],
        mut state: S,
        each: impl Fn(&mut S, &Row<'_>) -> Result<(), DbError> + Send + 'static,
    ) -> Result<S, DbError> {
        match &self.0 {
            Pools::Sqlite(readers) => {
                let args: Args = keys.iter().map(|key| Value::Int(*key)).collect();
                let fold = move |conn: &rusqlite::Connection| {
                    sqlite::each(conn, sql, &args, |row| each(&mut state, row))?;
                    Ok(state)
                };
                readers.run(fold).await
            }
            Pools::Postgres(pool) => {
                copy::fold(pool, (sql, keys), &mut state, each).await?;
                Ok(state)
            }
        }
    }

    /// Has the engine check a statement without running it.
    ///
    /// # Errors
    /// When the engine refuses it.
    pub async fn prepare(&self, sql: impl SqlSafeStr) -> Result<(), DbError> {
        let sql = sql.into_sql_str();
        match &self.0 {
            Pools::Sqlite(readers) => {
                readers.run(move |conn| Ok(conn.prepare(sql.as_str()).map(drop)?)).await?;
            }
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
            Pools::Sqlite(readers) => {
                let begun = readers.reader().await?.run(|conn| Ok(conn.execute_batch("BEGIN")?)).await?;
                begun.1?;
                Transactions::Sqlite(Some(begun.0))
            }
            Pools::Postgres(pool) => Transactions::Postgres(
                pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?,
            ),
        }))
    }

    pub(crate) async fn close(&self) {
        match &self.0 {
            Pools::Sqlite(readers) => readers.close().await,
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

fn pool_options(tuning: &Tuning) -> PgPoolOptions {
    PgPoolOptions::new()
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
    /// `None` after a read that did not end.
    Sqlite(Option<Reader>),
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
            Transactions::Sqlite(reader) => {
                with(reader, move |conn| sqlite::all(conn, sql.as_str(), &args)).await
            }
            Transactions::Postgres(tx) => {
                let rows = sqlx::query_with(sql, postgres(args)?).fetch_all(&mut **tx).await?;
                rows.iter().map(|row| R::from_row(&Row(Inner::Postgres(row)))).collect()
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
        match &mut self.0 {
            Transactions::Sqlite(reader) => {
                with(reader, move |conn| sqlite::optional(conn, sql.as_str(), &args)).await
            }
            Transactions::Postgres(tx) => {
                let row = sqlx::query_with(sql, postgres(args)?).fetch_optional(&mut **tx).await?;
                row.map(|row| R::from_row(&Row(Inner::Postgres(&row)))).transpose()
            }
        }
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// [`DbError::NoRow`] when there is none; otherwise as [`Snapshot::fetch_optional`].
    pub async fn fetch_one<R: FromRow>(&mut self, sql: impl SqlSafeStr, args: Args) -> Result<R, DbError> {
        self.fetch_optional(sql, args).await?.ok_or(DbError::NoRow)
    }
}

/// Runs `work` in the transaction that `reader` holds.
async fn with<T: Send + 'static>(
    reader: &mut Option<Reader>,
    work: impl FnOnce(&rusqlite::Connection) -> Result<T, DbError> + Send + 'static,
) -> Result<T, DbError> {
    let taken = reader.take().ok_or(DbError::Unavailable("the snapshot has ended"))?;
    let (given, done) = taken.run(work).await?;
    *reader = Some(given);
    done
}
