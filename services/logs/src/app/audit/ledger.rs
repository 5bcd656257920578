//! Appending to the ledger.

use std::sync::Arc;

use runspine_db::{Batch, BoxFuture, DbError, Tx};
use runspine_errors::Fault;
use runspine_types::Clock;
use tokio::sync::watch;

use super::Audit;
use crate::store::ledger::{self, Appended, Event};

/// The batch of all calls that wait.
pub struct AppendEntries {
    appended: watch::Sender<u64>,
    clock: Arc<dyn Clock>,
}

impl AppendEntries {
    /// Telling `appended` of what was committed.
    #[must_use]
    pub fn new(appended: watch::Sender<u64>, clock: Arc<dyn Clock>) -> Self {
        Self { appended, clock }
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
        self.appended.send_modify(|n| *n = n.wrapping_add(1));
    }
}

impl Audit {
    /// Appends events: all or none.
    ///
    /// # Errors
    /// When one is refused, or the store can't be written.
    pub async fn append_entries(&self, events: Vec<Event>) -> Result<Vec<Appended>, Fault> {
        self.append.submit(events).await
    }
}
