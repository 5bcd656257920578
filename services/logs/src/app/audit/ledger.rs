//! Appending to the ledger, and watching it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use runspine_db::{Batch, BoxFuture, DbError, Dialect, Tx};
use runspine_errors::Fault;
use runspine_logs_domain::reasons::{SLOW_CONSUMER, TOO_MANY_STREAMS};
use runspine_types::Clock;
use tokio::sync::{mpsc, watch};

use super::Audit;
use crate::store::ledger::{self, Appended, Behind, EntryRow, Event, LedgerFilter};

/// The batch of all calls that wait.
pub struct AppendEntries {
    watchers: Arc<Watchers>,
    clock: Arc<dyn Clock>,
}

impl AppendEntries {
    /// Telling `watchers` of what was committed.
    #[must_use]
    pub fn new(watchers: Arc<Watchers>, clock: Arc<dyn Clock>) -> Self {
        Self { watchers, clock }
    }
}

impl Batch for AppendEntries {
    type Item = Vec<Event>;
    type Out = Vec<Appended>;
    const NAME: &'static str = "append_entries";

    fn apply<'t>(
        &'t self,
        tx: &'t mut Tx,
        items: &'t [Vec<Event>],
    ) -> BoxFuture<'t, Result<Vec<Result<Vec<Appended>, Fault>>, DbError>> {
        Box::pin(ledger::append(tx, items, self.clock.now()))
    }

    fn committed(&self) {
        self.watchers.news.send_modify(|n| *n = n.wrapping_add(1));
    }
}

/// Who watches the ledger, and how many a tenant may have.
pub struct Watchers {
    most: usize,
    open: Mutex<HashMap<String, usize>>,
    news: watch::Sender<u64>,
}

/// The right to one stream; given back when it is dropped.
struct Seat {
    watchers: Arc<Watchers>,
    tenant_id: String,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.watchers.open.lock();
        if let Some(count) = open.get_mut(&self.tenant_id) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.tenant_id);
            }
        }
    }
}

impl Watchers {
    /// With at most `most` streams a tenant.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, open: Mutex::default(), news: watch::Sender::new(0) }
    }

    fn seat(self: &Arc<Self>, tenant_id: &str) -> Result<Seat, Fault> {
        let mut open = self.open.lock();
        let count = open.entry(tenant_id.to_owned()).or_default();
        if *count >= self.most {
            return Err(Fault::new(&TOO_MANY_STREAMS, "the tenant watches as much as it may")
                .quota("watch.max_streams", format!("{} streams", self.most))
                .retry_after(Duration::from_secs(5)));
        }
        *count += 1;
        Ok(Seat { watchers: Arc::clone(self), tenant_id: tenant_id.to_owned() })
    }
}

/// One message of a watch.
pub enum Watched {
    /// An entry.
    Entry(Box<EntryRow>),
    /// Nothing new; the last place of the tenant.
    Heartbeat(u64),
}

/// How many entries are read at once.
const PAGE: i64 = 500;
/// How often a quiet watch says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a message may wait for its reader.
const PATIENCE: Duration = Duration::from_secs(60);

impl Audit {
    /// Appends events: all or none.
    ///
    /// # Errors
    /// When one is refused, or the store can't be written.
    pub async fn append_entries(&self, events: Vec<Event>) -> Result<Vec<Appended>, Fault> {
        self.append.submit(events).await
    }

    /// Entries of `tenant` from `from` on, those of `run_id` only unless it is empty: committed ones in order, each
    /// once, then live ones.
    ///
    /// # Errors
    /// TOO_MANY_STREAMS.
    pub fn watch_entries(
        self: &Arc<Self>,
        tenant: String,
        from: u64,
        run_id: String,
    ) -> Result<mpsc::Receiver<Result<Watched, Fault>>, Fault> {
        let seat = self.watchers.seat(&tenant)?;
        let (sender, receiver) = mpsc::channel(64);
        let filter =
            LedgerFilter { run_id: (!run_id.is_empty()).then_some(run_id), ..LedgerFilter::default() };
        let watch = Watch { audit: Arc::clone(self), tenant, filter, next: from.max(1), sender, _seat: seat };
        tokio::spawn(watch.run());
        Ok(receiver)
    }
}

struct Watch {
    audit: Arc<Audit>,
    tenant: String,
    filter: LedgerFilter,
    /// The first place that was not looked at.
    next: u64,
    sender: mpsc::Sender<Result<Watched, Fault>>,
    _seat: Seat,
}

impl Watch {
    async fn run(mut self) {
        if let Err(fault) = self.follow().await {
            // Whoever is gone can't be told.
            let _ = self.sender.try_send(Err(fault));
        }
    }

    async fn follow(&mut self) -> Result<(), Fault> {
        let mut news = self.audit.watchers.news.subscribe();
        let mut commits = self.audit.db.outbox().subscribe();
        // Another replica's commit is seen by looking; this one's by being told.
        let every = match self.audit.db.dialect() {
            Dialect::Sqlite => Duration::from_secs(1),
            Dialect::Postgres => Duration::from_millis(100),
        };
        let mut quiet_until = tokio::time::Instant::now() + HEARTBEAT;
        while !self.sender.is_closed() {
            if self.catch_up().await? {
                quiet_until = tokio::time::Instant::now() + HEARTBEAT;
            }
            if tokio::time::Instant::now() >= quiet_until {
                let head = self.head().await?;
                self.send(Watched::Heartbeat(head)).await?;
                quiet_until = tokio::time::Instant::now() + HEARTBEAT;
            }
            tokio::select! {
                _ = news.changed() => {}
                _ = commits.changed() => {}
                () = tokio::time::sleep(every) => {}
                () = self.sender.closed() => {}
            }
        }
        Ok(())
    }

    /// Sends what is committed and was not sent; says whether there was anything.
    async fn catch_up(&mut self) -> Result<bool, Fault> {
        let head = self.head().await?;
        let mut sent = false;
        while self.next <= head && !self.sender.is_closed() {
            let after = Some(self.next - 1);
            let read = self.audit.db.read();
            let page = ledger::list(read, &self.tenant, &self.filter, Behind::Place(after), PAGE).await?;
            let full = i64::try_from(page.len()).is_ok_and(|n| n == PAGE);
            for entry in page {
                self.next = entry.seq + 1;
                sent = true;
                self.send(Watched::Entry(Box::new(entry))).await?;
            }
            if !full {
                // Entries of other runs up to the head were looked at, too; later ones may have been sent already.
                self.next = self.next.max(head + 1);
            }
        }
        Ok(sent)
    }

    async fn head(&self) -> Result<u64, Fault> {
        Ok(ledger::head(self.audit.db.read(), &self.tenant).await?.map_or(0, |(seq, _)| seq))
    }

    async fn send(&self, message: Watched) -> Result<(), Fault> {
        match self.sender.send_timeout(Ok(message), PATIENCE).await {
            Ok(()) | Err(mpsc::error::SendTimeoutError::Closed(_)) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                let resume = self.next.saturating_sub(1).max(1);
                Err(Fault::new(&SLOW_CONSUMER, "no message was taken for 60 s").with("resume_at", resume))
            }
        }
    }
}
