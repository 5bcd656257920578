//! What waits for the writer, and the queue it waits in.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use runspine_errors::{Fault, mesh};
use tokio::sync::{mpsc, oneshot};

use crate::{BoxFuture, DbError, Tuning, Tx, stats::Counters};

/// One thing for the writer to do.
pub(crate) trait Job: Send {
    /// Runs in the group's transaction, and says how many operations it was. An error loses the group.
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<u64, DbError>>;

    /// The group is durable, or lost.
    fn answer(self: Box<Self>, group: Result<(), DbError>);
}

pub(crate) enum Message {
    Job(Box<dyn Job>),
    /// Answered when everything before it is durable or refused.
    Barrier(oneshot::Sender<()>),
    /// As a barrier, and the writer ends.
    Stop(oneshot::Sender<()>),
}

/// The bounded queue of a writer.
#[derive(Clone)]
pub(crate) struct Queue {
    sender: mpsc::UnboundedSender<Message>,
    waiting: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
    /// Why nothing is written any more.
    refusal: Arc<OnceLock<Fault>>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) tuning: Tuning,
}

/// A place in the queue, given back when the operation is answered.
pub(crate) struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    pub(crate) fn new(domain: &str, tuning: Tuning) -> (Self, mpsc::UnboundedReceiver<Message>) {
        // Unbounded only as a channel: `admit` bounds what goes in, batch items among it.
        let (sender, receiver) = mpsc::unbounded_channel();
        let queue = Self {
            sender,
            waiting: Arc::default(),
            closing: Arc::default(),
            refusal: Arc::default(),
            counters: Arc::new(Counters::of(domain)),
            tuning,
        };
        (queue, receiver)
    }

    /// Takes a place, or says that there is none.
    pub(crate) fn admit(&self) -> Result<Slot, Fault> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Fault::new(&mesh::DRAINING, "the service is shutting down"));
        }
        if let Some(refusal) = self.refusal.get() {
            return Err(refusal.clone());
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(self.waiting.clone());
        if before < self.tuning.queue_limit {
            return Ok(slot);
        }
        self.counters.overloaded();
        Err(Fault::new(&mesh::OVERLOADED, "too many writes are waiting").retry_after(self.tuning.retry_after))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Hands a message to the writer; a writer that ended drops it, and whoever waits learns of that.
    pub(crate) fn send(&self, message: Message) {
        let _ = self.sender.send(message);
    }

    pub(crate) fn refuse(&self, why: Fault) {
        let _ = self.refusal.set(why);
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

/// What a caller hears when the writer ended before its turn.
pub(crate) fn ended() -> Fault {
    DbError::Unavailable("the writer has ended").into()
}

type Body<T> = Box<dyn for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Fault>> + Send>;

/// A single operation.
pub(crate) struct Operation<T> {
    pub(crate) name: &'static str,
    pub(crate) body: Option<Body<T>>,
    pub(crate) outcome: Option<Result<T, Fault>>,
    pub(crate) reply: oneshot::Sender<Result<T, Fault>>,
    pub(crate) slot: Slot,
}

impl<T: Send> Job for Operation<T> {
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<u64, DbError>> {
        Box::pin(async move {
            // A caller that went away before its turn is owed nothing.
            if self.reply.is_closed() {
                return Ok(0);
            }
            if let Some(body) = self.body.take() {
                self.outcome = Some(tx.operation(self.name, body).await?);
            }
            Ok(1)
        })
    }

    fn answer(self: Box<Self>, group: Result<(), DbError>) {
        let Self { outcome, reply, slot, .. } = *self;
        let answer = match (group, outcome) {
            (Ok(()), Some(outcome)) => outcome,
            // A refusal stands whether or not the others became durable.
            (Err(_), Some(Err(fault))) => Err(fault),
            (Err(error), _) => Err(error.into()),
            (Ok(()), None) => Err(ended()),
        };
        drop(slot);
        let _ = reply.send(answer);
    }
}
