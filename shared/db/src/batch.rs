//! Hot operations: everything of one kind that waits is done by one call.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use parking_lot::Mutex;
use runspine_errors::{Fault, mesh};
use tokio::sync::oneshot;

use crate::{
    BoxFuture, DbError, Tx,
    job::{Job, Message, Queue, Slot, ended},
};

/// The answers of a batch, each at the place of its item.
pub type Answers<T> = Result<Vec<Result<T, Fault>>, DbError>;

/// How all waiting items of one kind are done together with few multi-row statements.
pub trait Batch: Send + Sync + 'static {
    /// One caller's request.
    type Item: Send + Sync + 'static;
    /// One caller's answer.
    type Out: Send + 'static;
    /// The name, for logs.
    const NAME: &'static str;

    /// Does all items in the order in which they came, and answers each at its place. An item that is refused must
    /// have changed nothing. An `Err` undoes all of it; the items are then tried one by one, each in a call of its own.
    fn apply<'t>(&'t self, tx: &'t mut Tx, items: &'t [Self::Item]) -> BoxFuture<'t, Answers<Self::Out>>;

    /// Everything applied so far is durable. For what is kept in memory beside the store.
    fn committed(&self) {}

    /// Something applied since the last [`Batch::committed`] was undone: forget what was kept in memory and read it
    /// again. Called before the next `apply`.
    fn undone(&self) {}
}

type Outcome<B> = Result<<B as Batch>::Out, Fault>;
type Attempt<B> = Result<Vec<Outcome<B>>, Fault>;

/// Where callers hand in the items of a [`Batch`]. Cheap to clone.
pub struct Batcher<B: Batch> {
    shared: Arc<Shared<B>>,
}

impl<B: Batch> Clone for Batcher<B> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

struct Shared<B: Batch> {
    batch: B,
    queue: Queue,
    waiting: Mutex<Waiting<B>>,
}

struct Waiting<B: Batch> {
    items: Vec<Entry<B>>,
    /// Whether a drain is on its way to the writer.
    enlisted: bool,
}

struct Entry<B: Batch> {
    item: B::Item,
    reply: Reply<B>,
}

struct Reply<B: Batch> {
    sender: oneshot::Sender<Outcome<B>>,
    slot: Slot,
}

impl<B: Batch> Batcher<B> {
    pub(crate) fn new(batch: B, queue: Queue) -> Self {
        let waiting = Mutex::new(Waiting { items: Vec::new(), enlisted: false });
        Self { shared: Arc::new(Shared { batch, queue, waiting }) }
    }

    /// Hands in one item and waits until it is durable or refused.
    ///
    /// # Errors
    /// What the batch refused it with; OVERLOADED when too much waits; STORE_UNAVAILABLE when the group is lost.
    pub async fn submit(&self, item: B::Item) -> Result<B::Out, Fault> {
        let slot = self.shared.queue.admit()?;
        let (sender, answer) = oneshot::channel();
        let enlist = {
            let mut waiting = self.shared.waiting.lock();
            waiting.items.push(Entry { item, reply: Reply { sender, slot } });
            !std::mem::replace(&mut waiting.enlisted, true)
        };
        if enlist {
            let shared = self.shared.clone();
            let drain = Drain { shared, replies: Vec::new(), outcomes: Vec::new(), ran: false };
            self.shared.queue.send(Message::Job(Box::new(drain)));
        }
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// The batch itself.
    #[must_use]
    pub fn batch(&self) -> &B {
        &self.shared.batch
    }
}

/// Takes what waits at the moment of its turn.
struct Drain<B: Batch> {
    shared: Arc<Shared<B>>,
    replies: Vec<Reply<B>>,
    outcomes: Vec<Outcome<B>>,
    ran: bool,
}

impl<B: Batch> Drain<B> {
    /// Takes all waiting items whose callers are still there. All of them, so that whatever was handed in before a
    /// flush is done before it.
    fn take(&mut self) -> Vec<B::Item> {
        self.ran = true;
        let taken = {
            let mut waiting = self.shared.waiting.lock();
            waiting.enlisted = false;
            std::mem::take(&mut waiting.items)
        };
        let live = taken.into_iter().filter(|entry| !entry.reply.sender.is_closed());
        let (items, replies) = live.map(|entry| (entry.item, entry.reply)).unzip();
        self.replies = replies;
        items
    }
}

impl<B: Batch> Shared<B> {
    /// One call for `items`. The inner error means that nothing of it stands.
    async fn attempt(&self, tx: &mut Tx, items: &[B::Item]) -> Result<Attempt<B>, DbError> {
        let batch = &self.batch;
        tx.enter().await?;
        let call = AssertUnwindSafe(batch.apply(tx, items)).catch_unwind().await;
        let outcome = match call {
            Ok(Ok(answers)) if answers.len() == items.len() => Ok(answers),
            Ok(Ok(_)) => Err(defect(B::NAME, "it answered more or fewer items than it was given")),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(defect(B::NAME, "it panicked")),
        };
        tx.settle(outcome).await
    }

    /// One call for `items`, or one for each when that fails.
    async fn part(&self, tx: &mut Tx, items: &[B::Item]) -> Result<Vec<Outcome<B>>, DbError> {
        let fault = match self.attempt(tx, items).await? {
            Ok(answers) => return Ok(answers),
            Err(fault) => fault,
        };
        self.batch.undone();
        if items.len() == 1 {
            return Ok(vec![Err(fault)]);
        }
        tracing::debug!(batch = B::NAME, items = items.len(), %fault, "tried item by item");
        self.queue.counters.fallback();
        self.one_by_one(tx, items).await
    }

    /// Item by item, so that the one that spoilt the batch is the only one to fail.
    async fn one_by_one(&self, tx: &mut Tx, items: &[B::Item]) -> Result<Vec<Outcome<B>>, DbError> {
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            match self.attempt(tx, std::slice::from_ref(item)).await? {
                Ok(answers) => outcomes.extend(answers),
                Err(fault) => {
                    self.batch.undone();
                    outcomes.push(Err(fault));
                }
            }
        }
        Ok(outcomes)
    }
}

fn defect(name: &str, what: &str) -> Fault {
    tracing::error!(batch = name, "a batch broke its contract: {what}");
    Fault::new(&mesh::INTERNAL, "the operation failed; nothing was changed")
}

impl<B: Batch> Job for Drain<B> {
    fn run<'a>(&'a mut self, tx: &'a mut Tx) -> BoxFuture<'a, Result<u64, DbError>> {
        Box::pin(async move {
            let items = self.take();
            for part in items.chunks(self.shared.queue.tuning.batch_limit.max(1)) {
                self.outcomes.extend(self.shared.part(tx, part).await?);
            }
            Ok(items.len() as u64)
        })
    }

    fn answer(mut self: Box<Self>, group: Result<(), DbError>) {
        if group.is_ok() {
            self.shared.batch.committed();
        } else {
            self.shared.batch.undone();
            if !self.ran {
                drop(self.take());
            }
        }
        let mut outcomes = std::mem::take(&mut self.outcomes).into_iter();
        for Reply { sender, slot } in std::mem::take(&mut self.replies) {
            let answer = match (&group, outcomes.next()) {
                (Ok(()), Some(outcome)) => outcome,
                (Err(_), Some(Err(fault))) => Err(fault),
                (Err(error), _) => Err(error.clone().into()),
                (Ok(()), None) => Err(ended()),
            };
            drop(slot);
            let _ = sender.send(answer);
        }
    }
}

/// A drain that the writer never answered takes what waits with it, so that no caller waits for ever.
impl<B: Batch> Drop for Drain<B> {
    fn drop(&mut self) {
        if !self.ran {
            let mut waiting = self.shared.waiting.lock();
            waiting.enlisted = false;
            waiting.items.clear();
        }
    }
}
