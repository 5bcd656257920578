//! The store of one domain.

use std::{fmt, sync::Arc};

use runspine_errors::Fault;
use sqlx::AssertSqlSafe;
use tokio::sync::{oneshot, watch};

use crate::{
    Batch, Batcher, BoxFuture, DbError, Dialect, Migrations, Outbox, Read, Stats, StoreConfig, Tuning, Tx,
    append_only,
    conn::Target,
    job::{Message, Operation, Queue, ended},
    writer::Writer,
};

/// The store of one domain: a pool for reads and one writer. Cheap to clone; ends with [`Db::close`].
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    domain: String,
    queue: Queue,
    read: Read,
    outbox: watch::Receiver<u64>,
    dialect: Dialect,
    migrated: Vec<&'static str>,
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db")
            .field("domain", &self.inner.domain)
            .field("dialect", &self.inner.dialect)
            .finish()
    }
}

impl Db {
    /// Opens the store of `domain` with the default tuning, and brings it up to date.
    ///
    /// # Errors
    /// When the store can't be reached, or its migrations are not those of this binary.
    pub async fn open(config: &StoreConfig, domain: &str, migrations: Migrations) -> Result<Self, DbError> {
        Self::open_with(config, domain, migrations, Tuning::default()).await
    }

    /// Gives the space of deleted rows of `tables` back: SQLite rewrites its file, for which nobody else may be in a
    /// transaction, and empties its log. What was deleted is in none of its files then. PostgreSQL only marks the space
    /// as free, and keeps its bytes until it is written to again.
    ///
    /// # Errors
    /// When the store can't be reached or is in use.
    pub async fn compact(config: &StoreConfig, domain: &str, tables: &[&str]) -> Result<(), DbError> {
        let target = Target::new(config, domain, &Tuning::default())?;
        let mut conn = target.connect().await?;
        match conn.dialect() {
            // The pages of before are in the log, and in the file until the log is moved into it.
            Dialect::Sqlite => conn.raw("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").await,
            Dialect::Postgres => {
                for table in tables {
                    conn.raw(AssertSqlSafe(format!("VACUUM ANALYZE {table}"))).await?;
                }
                Ok(())
            }
        }
    }

    /// As [`Db::open`] with another tuning.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub async fn open_with(
        config: &StoreConfig,
        domain: &str,
        migrations: Migrations,
        tuning: Tuning,
    ) -> Result<Self, DbError> {
        let target = Target::new(config, domain, &tuning)?;
        let (queue, receiver) = Queue::new(domain, tuning);
        let (sender, outbox) = watch::channel(0);
        let writer = Writer {
            domain: domain.to_owned(),
            target: target.clone(),
            queue: queue.clone(),
            receiver,
            tx: None,
            outbox: sender,
        };
        let migrated = writer.start(migrations).await?;
        let read = Read::open(&target, &tuning).await?;
        let waiting = queue.clone();
        runspine_telemetry::observe("runspine_store_waiting", "Writes that wait, by store", move |seen| {
            seen.prepared(waiting.waiting() as u64, waiting.counters.store());
        });
        let dialect = read.dialect();
        Ok(Self {
            inner: Arc::new(Inner { domain: domain.to_owned(), queue, read, outbox, dialect, migrated }),
        })
    }

    /// The domain whose store this is.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.inner.domain
    }

    /// The steps of the domain's schema that were applied when the store was opened.
    #[must_use]
    pub fn migrated(&self) -> &[&'static str] {
        &self.inner.migrated
    }

    /// The engine.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// The reading side.
    #[must_use]
    pub fn read(&self) -> &Read {
        &self.inner.read
    }

    /// Runs one operation in the next group and answers when the group is durable. An `Err` undoes this operation
    /// only. `name` is for logs. An operation whose caller goes away before its turn is not run; one that has begun is
    /// finished.
    ///
    /// # Errors
    /// What the operation failed with; OVERLOADED when too much waits; STORE_UNAVAILABLE when the group is lost.
    pub async fn write<T, F>(&self, name: &'static str, operation: F) -> Result<T, Fault>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    {
        let queue = &self.inner.queue;
        let slot = queue.admit().inspect_err(|fault| tracing::warn!(operation = name, %fault, "refused"))?;
        let (reply, answer) = oneshot::channel();
        let job = Operation { name, body: Some(Box::new(operation)), outcome: None, reply, slot };
        queue.send(Message::Job(Box::new(job)));
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Where callers hand in the items of a hot operation.
    pub fn batcher<B: Batch>(&self, batch: B) -> Batcher<B> {
        Batcher::new(batch, self.inner.queue.clone())
    }

    /// The outbox of the domain.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        Outbox::new(self.clone(), self.inner.outbox.clone())
    }

    /// The tables that the engine keeps from being changed, in order of their names.
    ///
    /// # Errors
    /// When the catalogue can't be read.
    pub async fn append_only_tables(&self) -> Result<Vec<String>, DbError> {
        append_only::tables(self.read()).await
    }

    /// What the writer did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.queue.counters.read(self.inner.queue.waiting())
    }

    /// Takes no more writes, and gives `why` to whoever wants one. Reads go on.
    pub fn refuse_writes(&self, why: Fault) {
        self.inner.queue.refuse(why);
    }

    /// Waits until everything handed in before is durable or refused.
    pub async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        self.inner.queue.send(Message::Barrier(done));
        let _ = wait.await;
    }

    /// Takes no more writes (DRAINING), finishes those that wait, and closes every connection.
    pub async fn close(&self) {
        self.inner.queue.close();
        let (done, wait) = oneshot::channel();
        self.inner.queue.send(Message::Stop(done));
        let _ = wait.await;
        self.inner.read.close().await;
    }
}
