//! The transaction that a write runs in.

mod operation;

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, SqlSafeStr};

use crate::{
    Args, BoxFuture, DbError, Dialect, FromRow, OutboxEvent, append_only, conn::Conn, insert::Insert,
};

/// How long PostgreSQL keeps the plans that it made for prepared statements. A plan is made for tables as they are, and
/// nobody else tells it that they have grown before they are analyzed, which can be minutes later. Making all of them
/// takes a millisecond or two.
const PLANS_LAST: Duration = Duration::from_millis(250);

/// Where the transaction stands between operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// No transaction is open.
    Closed,
    /// Open, and the one operation so far runs in the transaction itself.
    Base,
    /// The savepoint is set and nothing happened since.
    Fresh,
    /// The savepoint is set and an operation ran behind it.
    Used,
}

/// The transaction of one write. What is done through it is durable when the write has been answered, or undone.
pub struct Tx {
    conn: Conn,
    /// When plans were made anew.
    planned: Instant,
    point: Point,
    /// Whether operations run behind savepoints. One operation alone does not pay for one.
    grouped: bool,
    /// The first statement that failed in the operation that runs.
    failure: Option<DbError>,
    /// Events of the operation that runs.
    emitted: Vec<OutboxEvent>,
    /// Events of the operations of this group that stand.
    accepted: Vec<OutboxEvent>,
}

/// A part of an operation that can be undone alone.
#[derive(Debug)]
pub struct Part {
    events: usize,
    earlier: Option<DbError>,
}

impl Tx {
    pub(crate) fn new(conn: Conn) -> Self {
        Self {
            conn,
            planned: Instant::now(),
            point: Point::Closed,
            grouped: false,
            failure: None,
            emitted: Vec::new(),
            accepted: Vec::new(),
        }
    }

    /// The engine, for the few statements that differ.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.conn.dialect()
    }

    /// Runs one statement and says how many rows it changed.
    ///
    /// # Errors
    /// When the statement fails; the operation can't succeed any more.
    pub async fn execute(&mut self, sql: impl SqlSafeStr, args: Args) -> Result<u64, DbError> {
        let done = self.conn.execute(sql, args).await;
        self.noted(done)
    }

    /// All rows of a query.
    ///
    /// # Errors
    /// When the query fails or a row can't be read as `R`.
    pub async fn fetch_all<R: FromRow>(
        &mut self,
        sql: impl SqlSafeStr,
        args: Args,
    ) -> Result<Vec<R>, DbError> {
        let rows = self.conn.all(sql, args).await;
        self.noted(rows)
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
        let row = self.conn.optional(sql, args).await;
        self.noted(row)
    }

    /// The first row of a query.
    ///
    /// # Errors
    /// [`DbError::NoRow`] when there is none, which does not spoil the operation; otherwise as [`Tx::fetch_optional`].
    pub async fn fetch_one<R: FromRow>(&mut self, sql: impl SqlSafeStr, args: Args) -> Result<R, DbError> {
        self.fetch_optional(sql, args).await?.ok_or(DbError::NoRow)
    }

    /// Inserts many rows with few statements and says how many were inserted. `on_conflict` is a whole clause such as
    /// `ON CONFLICT DO NOTHING`, or empty. Every value of a column must be of one kind, its NULLs among them.
    ///
    /// # Errors
    /// When a statement fails or a row does not fit the columns.
    pub async fn insert_rows(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: Vec<Args>,
        on_conflict: &str,
    ) -> Result<u64, DbError> {
        let insert = Insert { table, columns, on_conflict, returning: "" };
        insert.check(&rows)?;
        let mut inserted = 0;
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let count = insert.take(self.dialect(), rows.len());
            let part: Vec<Args> = rows.by_ref().take(count).collect();
            let done = self.conn.insert(&insert, part).await;
            inserted += self.noted(done)?;
        }
        Ok(inserted)
    }

    /// As [`Tx::insert_rows`], and reads `returning` (columns) of each inserted row. SQL promises no order: match
    /// rows by a key.
    ///
    /// # Errors
    /// When a statement fails, a row does not fit the columns, or a result can't be read as `R`.
    pub async fn insert_rows_returning<R: FromRow>(
        &mut self,
        table: &str,
        columns: &[&str],
        rows: Vec<Args>,
        on_conflict: &str,
        returning: &str,
    ) -> Result<Vec<R>, DbError> {
        let insert = Insert { table, columns, on_conflict, returning };
        insert.check(&rows)?;
        let mut found = Vec::with_capacity(rows.len());
        let mut rows = rows.into_iter();
        while rows.len() > 0 {
            let count = insert.take(self.dialect(), rows.len());
            let part: Vec<Args> = rows.by_ref().take(count).collect();
            let read = self.conn.insert_returning(&insert, part).await;
            found.extend(self.noted(read)?);
        }
        Ok(found)
    }

    /// Adds an event to the outbox of the domain. It gets its sequence number when the group commits, and is gone when
    /// this operation fails.
    pub fn emit_raw(&mut self, event: OutboxEvent) {
        self.emitted.push(event);
    }

    /// Runs `f` behind a savepoint of its own: when it fails, only what it did is undone and the operation can go on.
    ///
    /// # Errors
    /// What `f` failed with, or that the savepoint can't be set or undone.
    pub async fn nested<T, E, F>(&mut self, f: F) -> Result<T, E>
    where
        F: for<'t> FnOnce(&'t mut Self) -> BoxFuture<'t, Result<T, E>>,
        E: From<DbError>,
    {
        let part = self.begin_part().await?;
        let outcome = f(self).await;
        self.end_part(part, outcome.is_ok()).await?;
        outcome
    }

    /// Sets a savepoint. [`Tx::end_part`] has to follow, whatever happens in between: for work that can't be handed to
    /// [`Tx::nested`] because it borrows.
    ///
    /// # Errors
    /// That the savepoint can't be set.
    pub async fn begin_part(&mut self) -> Result<Part, DbError> {
        self.steer(&["SAVEPOINT nested"]).await?;
        Ok(Part { events: self.emitted.len(), earlier: self.failure.take() })
    }

    /// Keeps what was done since the savepoint, or undoes it.
    ///
    /// # Errors
    /// That it can't be kept, because a statement in between failed, or that the savepoint can't be ended.
    pub async fn end_part(&mut self, part: Part, keep: bool) -> Result<(), DbError> {
        let spoilt = self.failure.take();
        self.failure = part.earlier;
        if keep && spoilt.is_none() {
            return self.steer(&["RELEASE nested"]).await;
        }
        self.emitted.truncate(part.events);
        self.steer(&["ROLLBACK TO nested", "RELEASE nested"]).await?;
        spoilt.filter(|_| keep).map_or(Ok(()), Err)
    }

    /// Deletes rows of an append-only table, which the engine refuses to everybody else: `statements` run while the table
    /// is open, and it is closed again in the same transaction. For an operator's command that reclaims space, and for
    /// nothing that serves calls. On PostgreSQL it needs the owner of the table.
    ///
    /// # Errors
    /// What `statements` fail with, or when the table can't be opened or closed.
    pub async fn purge<T, E: From<DbError>>(
        &mut self,
        table: &'static str,
        statements: impl AsyncFnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let lifted = self.conn.raw(AssertSqlSafe(append_only::lift(self.dialect(), table))).await;
        self.noted(lifted)?;
        let done = statements(self).await?;
        let closed = append_only::install(&mut self.conn, &[table]).await;
        self.noted(closed)?;
        Ok(done)
    }

    async fn steer(&mut self, statements: &[&'static str]) -> Result<(), DbError> {
        let done = self.conn.steer(statements).await;
        self.noted(done)
    }

    /// Remembers the first failure of the operation, for PostgreSQL refuses everything that follows one.
    fn noted<T>(&mut self, done: Result<T, DbError>) -> Result<T, DbError> {
        if let Err(error) = &done
            && !matches!(error, DbError::NoRow | DbError::Column { .. } | DbError::Argument(_))
        {
            self.failure.get_or_insert_with(|| error.clone());
        }
        done
    }
}
