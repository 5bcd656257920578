//! Watching the ledger of a tenant.

use std::sync::Arc;

use runspine_errors::Fault;
use tokio::sync::watch;

use super::{Inlet, Outlet, Source, Stop, follow, outlet, seats::Seat};
use crate::{
    app::audit::Audit,
    store::ledger::{self, Behind, EntryRow, LedgerFilter},
};

/// Entries that are read at a time.
const PAGE: usize = 500;

/// One message of a watch.
pub enum Watched {
    /// An entry.
    Entry(Box<EntryRow>),
    /// Nothing new; the last place of the tenant, up to which everything was looked at.
    Heartbeat(u64),
}

/// The stream of one ledger.
struct Entries {
    audit: Arc<Audit>,
    tenant: String,
    filter: LedgerFilter,
    /// The first place that was not looked at.
    next: u64,
    /// Tells of entries that came over the wire.
    appended: watch::Receiver<u64>,
    /// Tells of the service's own commits.
    committed: watch::Receiver<u64>,
    _seat: Seat,
}

impl Audit {
    /// Entries of `tenant` that pass `filter`, from `from` on: committed ones in order, each once, then live ones.
    ///
    /// # Errors
    /// TOO_MANY_STREAMS.
    pub fn watch_entries(
        self: &Arc<Self>,
        tenant: String,
        from: u64,
        filter: LedgerFilter,
    ) -> Result<Inlet<Watched>, Fault> {
        let source = Entries {
            _seat: self.seats.take(&tenant)?,
            audit: Arc::clone(self),
            tenant,
            filter,
            next: from.max(1),
            appended: self.appended.subscribe(),
            committed: self.db.outbox().subscribe(),
        };
        let (outlet, inlet) = outlet::stream();
        tokio::spawn(follow(source, outlet, self.db.dialect()));
        Ok(inlet)
    }
}

impl Entries {
    async fn head(&self) -> Result<u64, Stop> {
        Ok(ledger::head(self.audit.db.read(), &self.tenant).await?.map_or(0, |(seq, _)| seq))
    }
}

impl Source for Entries {
    type Message = Watched;

    async fn drain(&mut self, outlet: &Outlet<Watched>) -> Result<bool, Stop> {
        let (head, mut any) = (self.head().await?, false);
        while self.next <= head {
            let (read, after) = (self.audit.db.read(), Some(self.next - 1));
            let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
            let page = ledger::list(read, &self.tenant, &self.filter, Behind::Place(after), limit).await?;
            let full = page.len() == PAGE;
            for entry in page {
                let seq = entry.seq;
                outlet.say(Watched::Entry(Box::new(entry)), seq).await?;
                (self.next, any) = (seq + 1, true);
            }
            if !full {
                // What the filter leaves out up to the head was looked at, too; later entries may have been said.
                self.next = self.next.max(head + 1);
            }
        }
        Ok(any)
    }

    async fn beat(&mut self, outlet: &Outlet<Watched>) -> Result<(), Stop> {
        outlet.say(Watched::Heartbeat(self.next - 1), self.next).await
    }

    async fn news(&mut self) {
        tokio::select! {
            _ = self.appended.changed() => {}
            _ = self.committed.changed() => {}
        }
    }
}
