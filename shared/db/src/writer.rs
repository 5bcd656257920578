//! The one writer of a store: takes whatever waits, runs it in one transaction, commits once, then answers.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
};

use crate::{
    DbError, Migrations, Tx,
    conn::{Conn, Target},
    job::{Job, Message, Queue},
    migrate,
};

/// A commit that takes longer is worth a line in the log: everybody waits with it.
const SLOW: Duration = Duration::from_secs(1);

pub(crate) struct Writer {
    pub(crate) domain: String,
    pub(crate) target: Target,
    pub(crate) queue: Queue,
    pub(crate) receiver: mpsc::UnboundedReceiver<Message>,
    /// `None` before the start, and after a failure that leaves the connection in doubt: the next group opens another.
    pub(crate) tx: Option<Tx>,
    /// Grows with each commit that put events into the outbox.
    pub(crate) outbox: watch::Sender<u64>,
}

/// What was waiting when the writer was free.
#[derive(Default)]
struct Group {
    jobs: Vec<Box<dyn Job>>,
    barriers: Vec<oneshot::Sender<()>>,
    stop: bool,
}

impl Group {
    fn push(&mut self, message: Message) {
        match message {
            Message::Job(job) => self.jobs.push(job),
            Message::Barrier(done) => self.barriers.push(done),
            Message::Stop(done) => {
                self.barriers.push(done);
                self.stop = true;
            }
        }
    }
}

impl Writer {
    /// Brings the schema up to date, says which steps that took, and works from then on. SQLite runs where it is called,
    /// so its writer has a thread of its own, which its statements and syncs hold up and nobody else's.
    pub(crate) async fn start(mut self, migrations: Migrations) -> Result<Vec<&'static str>, DbError> {
        let (ready, started) = oneshot::channel();
        let name = format!("store-{}", self.domain);
        let own_thread = matches!(self.target, Target::Sqlite(_));
        let work = async move {
            match self.migrate(migrations).await {
                Ok((conn, migrated)) => {
                    self.tx = Some(Tx::new(conn));
                    let _ = ready.send(Ok(migrated));
                    self.run().await;
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        };
        if own_thread {
            let runtime = Handle::current();
            thread::Builder::new()
                .name(name)
                .spawn(move || runtime.block_on(work))
                .map_err(|_| DbError::Unavailable("the writer's thread can't be started"))?;
        } else {
            tokio::spawn(work);
        }
        started.await.unwrap_or(Err(DbError::Unavailable("the writer has ended")))
    }

    async fn migrate(&mut self, migrations: Migrations) -> Result<(Conn, Vec<&'static str>), DbError> {
        let patience = self.queue.tuning.acquire_timeout * 6;
        let _starting = migrate::prepare(&self.target, patience).await?;
        let mut conn = self.target.connect().await?;
        let migrated = migrate::run(&mut conn, &self.domain, migrations).await?;
        Ok((conn, migrated))
    }

    /// Works until it is stopped or its store is dropped.
    async fn run(mut self) {
        let limit = self.queue.tuning.group_limit.max(1);
        while let Some(first) = self.receiver.recv().await {
            let mut group = Group::default();
            group.push(first);
            while group.jobs.len() < limit && !group.stop {
                let Ok(message) = self.receiver.try_recv() else { break };
                group.push(message);
            }
            if !group.jobs.is_empty() {
                self.commit(group.jobs).await;
            }
            if group.stop {
                self.end().await;
            }
            for done in group.barriers {
                let _ = done.send(());
            }
            if group.stop {
                return;
            }
        }
        self.end().await;
    }

    async fn commit(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let outcome = self.attempt(&mut jobs).await;
        if let Err(error) = &outcome {
            // The transaction is in doubt: dropping the connection undoes whatever is open.
            self.tx = None;
            self.queue.counters.failed_group();
            tracing::error!(%error, jobs = jobs.len(), "a group of writes was lost");
        }
        for job in jobs {
            job.answer(outcome.clone());
        }
    }

    async fn attempt(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), DbError> {
        let tx = match &mut self.tx {
            Some(tx) => tx,
            empty => empty.insert(Tx::new(self.target.connect().await?)),
        };
        tx.start(jobs.len() > 1);
        let mut operations = 0;
        for job in jobs.iter_mut() {
            operations += job.run(tx).await?;
        }
        let begun = Instant::now();
        let events = tx.commit().await.inspect_err(|error| {
            tracing::error!(%error, "a commit failed");
        });
        // Whatever the engine said, a caller whose commit failed must read that nothing can be relied on.
        let events = events.map_err(|_| DbError::Unavailable("the commit failed"))?;
        if begun.elapsed() > SLOW {
            tracing::warn!(operations, took_ms = begun.elapsed().as_millis(), "a commit was slow");
        }
        if operations > 0 {
            self.queue.counters.committed(operations, begun.elapsed());
        }
        if events > 0 {
            self.outbox.send_modify(|commits| *commits += 1);
        }
        Ok(())
    }

    async fn end(&mut self) {
        if let Some(tx) = self.tx.take()
            && let Err(error) = tx.close().await
        {
            tracing::warn!(%error, "the writer's connection did not close in order");
        }
    }
}
