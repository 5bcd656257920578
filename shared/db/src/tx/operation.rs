//! The writer's side of a transaction: the operations of a group, one after the other.

use std::{panic::AssertUnwindSafe, time::Instant};

use futures::FutureExt as _;
use runspine_errors::{Fault, mesh};

use super::{PLANS_LAST, Point, Tx};
use crate::{BoxFuture, DbError, Dialect, outbox};

impl Tx {
    /// Begins a group; `grouped` when it has more than one operation.
    pub(crate) const fn start(&mut self, grouped: bool) {
        self.grouped = grouped;
    }

    /// Runs one operation so that its failure is undone and nobody else's. The outer error means that the connection
    /// or the transaction is lost, and with it the whole group.
    pub(crate) async fn operation<T, F>(
        &mut self,
        name: &'static str,
        f: F,
    ) -> Result<Result<T, Fault>, DbError>
    where
        F: for<'a> FnOnce(&'a mut Self) -> BoxFuture<'a, Result<T, Fault>>,
    {
        self.enter().await?;
        // A panic in one operation must not end the writer of all.
        let outcome = AssertUnwindSafe(async { f(self).await }).catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| {
            tracing::error!(operation = name, "an operation panicked in its transaction");
            Err(Fault::new(&mesh::INTERNAL, "the operation failed; nothing was changed"))
        });
        self.settle(outcome).await
    }

    /// Ends the operation that [`Tx::enter`] began: keeps what it did, or undoes it.
    pub(crate) async fn settle<T>(&mut self, outcome: Result<T, Fault>) -> Result<Result<T, Fault>, DbError> {
        match (outcome, self.failure.take()) {
            (_, Some(error)) if error.is_fatal() => Err(error),
            (Ok(value), None) => {
                self.accepted.append(&mut self.emitted);
                Ok(Ok(value))
            }
            (Ok(_), Some(error)) => {
                self.undo().await?;
                Ok(Err(error.into()))
            }
            (Err(fault), _) => {
                self.undo().await?;
                Ok(Err(fault))
            }
        }
    }

    /// Makes a place to which the next operation can be undone.
    pub(crate) async fn enter(&mut self) -> Result<(), DbError> {
        if self.point == Point::Closed {
            self.plan_anew().await?;
        }
        let begin = self.dialect().pick("BEGIN IMMEDIATE", "BEGIN");
        let (statements, next): (&[&'static str], Point) = match (self.point, self.grouped) {
            (Point::Closed, false) => (&[begin], Point::Base),
            (Point::Closed, true) => (&[begin, "SAVEPOINT op"], Point::Used),
            (Point::Base, _) => (&["SAVEPOINT op"], Point::Used),
            (Point::Fresh, _) => (&[], Point::Used),
            (Point::Used, _) => (&["RELEASE op", "SAVEPOINT op"], Point::Used),
        };
        if !statements.is_empty() {
            self.conn.steer(statements).await?;
        }
        self.point = next;
        Ok(())
    }

    /// Has PostgreSQL plan its statements for tables as they are now, once in a while.
    async fn plan_anew(&mut self) -> Result<(), DbError> {
        if self.dialect() == Dialect::Sqlite || self.planned.elapsed() < PLANS_LAST {
            return Ok(());
        }
        self.planned = Instant::now();
        self.conn.steer(&["DISCARD PLANS"]).await
    }

    async fn undo(&mut self) -> Result<(), DbError> {
        self.emitted.clear();
        match self.point {
            Point::Closed | Point::Fresh => Ok(()),
            Point::Base => {
                self.conn.steer(&["ROLLBACK"]).await?;
                self.point = Point::Closed;
                // Whatever follows in this group needs a savepoint now.
                self.grouped = true;
                Ok(())
            }
            Point::Used => {
                self.conn.steer(&["ROLLBACK TO op"]).await?;
                self.point = Point::Fresh;
                Ok(())
            }
        }
    }

    /// Makes the group durable and says how many events went into the outbox.
    pub(crate) async fn commit(&mut self) -> Result<usize, DbError> {
        if self.point == Point::Closed {
            return Ok(0);
        }
        let events = std::mem::take(&mut self.accepted);
        let count = events.len();
        if count > 0 {
            outbox::append(self, events).await?;
        }
        self.conn.steer(&["COMMIT"]).await?;
        self.point = Point::Closed;
        Ok(count)
    }

    pub(crate) async fn close(self) -> Result<(), DbError> {
        self.conn.close().await
    }
}
