//! Following the outbox of a domain.

use std::time::Duration;

use contracts_common::common::v1::EventEnvelope;
use prost::Message as _;
use runspine_db::{Db, Outbox, OutboxRow};
use runspine_errors::{Fault, mesh};
use runspine_types::Clock;
use tokio::time::{Instant, timeout_at};

/// Commits of other replicas ring no bell in this process: look for them so often.
const LOOK: Duration = Duration::from_secs(1);

/// What a pull found.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// The events that the consumer has not acknowledged, oldest first.
    pub events: Vec<EventEnvelope>,
    /// The number of the newest event there is, 0 when there is none.
    pub head: u64,
}

/// The events of one domain, as its consumers see them. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    outbox: Outbox,
}

impl Feed {
    /// The feed of a domain's store.
    #[must_use]
    pub fn new(db: &Db) -> Self {
        Self { outbox: db.outbox() }
    }

    /// The next events of `consumer`, at most `limit`; none when it has acknowledged everything.
    ///
    /// # Errors
    /// When the store can't be read, or holds an envelope that can't be.
    pub async fn pull(&self, consumer: &str, limit: u32) -> Result<Pulled, Fault> {
        let rows = self.outbox.pull(consumer, limit).await?;
        // Read after the events: the head is never behind what was pulled.
        let head = self.outbox.head().await?;
        Ok(Pulled { events: rows.into_iter().map(open).collect::<Result<_, _>>()?, head })
    }

    /// As [`Feed::pull`], but waits up to `patience` until there is something.
    ///
    /// # Errors
    /// As [`Feed::pull`].
    pub async fn wait(&self, consumer: &str, limit: u32, patience: Duration) -> Result<Pulled, Fault> {
        let end = Instant::now() + patience;
        let mut commits = self.outbox.subscribe();
        loop {
            // Marked before the pull: a commit during it wakes the wait that follows.
            commits.mark_unchanged();
            let pulled = self.pull(consumer, limit).await?;
            if !pulled.events.is_empty() || Instant::now() >= end {
                return Ok(pulled);
            }
            let look = end.min(Instant::now() + LOOK);
            if let Ok(Err(_)) = timeout_at(look, commits.changed()).await {
                return Err(Fault::new(&mesh::DRAINING, "the store is closing"));
            }
        }
    }

    /// Notes that `consumer` has taken care of everything up to `sequence`.
    ///
    /// # Errors
    /// When the store can't be written.
    pub async fn ack(&self, consumer: &str, sequence: u64, clock: &dyn Clock) -> Result<(), Fault> {
        self.outbox.ack(consumer, sequence, clock.now()).await
    }

    /// Hands every event to `handle`, in order and at least once, and acknowledges what was handled. Ends with the
    /// first failure; called again it goes on with the event that failed.
    ///
    /// # Errors
    /// What `handle` failed with, DRAINING when the store closes, or that the store can't be reached.
    pub async fn follow<H, F>(&self, consumer: &str, clock: &dyn Clock, mut handle: H) -> Result<(), Fault>
    where
        H: FnMut(EventEnvelope) -> F + Send,
        F: Future<Output = Result<(), Fault>> + Send,
    {
        loop {
            let pulled = self.wait(consumer, 500, LOOK).await?;
            let (mut done, mut failure) = (None, None);
            for event in pulled.events {
                let sequence = event.sequence;
                match handle(event).await {
                    Ok(()) => done = Some(sequence),
                    Err(fault) => {
                        failure = Some(fault);
                        break;
                    }
                }
            }
            if let Some(sequence) = done {
                self.ack(consumer, sequence, clock).await?;
            }
            if let Some(fault) = failure {
                return Err(fault);
            }
        }
    }
}

fn open(row: OutboxRow) -> Result<EventEnvelope, Fault> {
    let mut envelope = EventEnvelope::decode(row.envelope).map_err(|error| {
        tracing::error!(seq = row.seq, kind = row.kind, %error, "an event in the outbox can't be read");
        Fault::new(&mesh::INTERNAL, "an event can't be read").caused_by(error)
    })?;
    envelope.sequence = row.seq;
    Ok(envelope)
}
