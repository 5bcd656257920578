//! The states of sequence rules at hand of a decision.
//!
//! Between decisions they are kept in memory. A decision is made while it holds the states that it is made with, in the
//! order of their keys, and leaves them as it moved them when it is handed to the store: the next one builds on it before
//! it is durable. Each says in its commit what it was made with, so that it stands only if that is what is stored.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use lru::LruCache;
use parking_lot::Mutex;
use runspine_errors::Fault;
use runspine_policies_domain::{
    compile::CompiledSnapshot,
    facts::Question,
    sequence::{Book, Held, MAX_HELD, Monitor, actions_of},
    slice::{Bound, resource_of},
};
use runspine_types::Digest;
use tokio::sync::OwnedMutexGuard;

use super::{App, Who, cache::RunHandle, observe::Told};
use crate::store::monitors::{self, Moved};

/// A state as it was last seen; none: it has to be read.
type Cell = Arc<tokio::sync::Mutex<Option<Known>>>;

struct Known {
    digest: Digest,
    held: Held,
}

/// States that are kept in memory.
pub(crate) struct Monitors {
    cells: Mutex<LruCache<(String, String), Cell>>,
}

impl Monitors {
    pub(crate) fn new(size: NonZeroUsize) -> Self {
        Self { cells: Mutex::new(LruCache::new(size)) }
    }

    fn cell(&self, tenant: &str, holder: &str) -> Cell {
        let key = (tenant.to_owned(), holder.to_owned());
        Arc::clone(self.cells.lock().get_or_insert(key, Cell::default))
    }

    /// Waits for a seat as a decision does, at a state that nobody has.
    pub(crate) async fn lock_nobodys(&self, tenant: &str) {
        drop(self.cell(tenant, "probe").lock_owned().await);
    }
}

/// One holder's state while a decision is made with it.
struct Seat {
    holder: String,
    read: Digest,
    cell: Cell,
    known: OwnedMutexGuard<Option<Known>>,
}

/// The states that a decision is made with.
pub(crate) struct Desk {
    pub book: Book,
    /// Monitors whose values the rules read.
    pub read: Vec<Arc<Monitor>>,
    /// A state can't be read.
    pub lost: bool,
    seats: Vec<Seat>,
}

/// States that are only looked at.
pub(crate) struct Glance {
    pub book: Book,
    /// Monitors whose values the rules read.
    pub read: Vec<Arc<Monitor>>,
    /// A state can't be read.
    pub lost: bool,
}

/// States that a decision moved and that are not durable yet.
pub(crate) struct Pledge(Vec<Cell>);

impl Pledge {
    /// The decision was not stored as it was made: what it left is forgotten.
    pub(crate) async fn forget(self) {
        for cell in self.0 {
            *cell.lock().await = None;
        }
    }
}

impl App {
    /// The states that a question, and the facts before it, are looked at with.
    pub(crate) async fn desk(
        &self,
        who: &Who,
        handle: &RunHandle,
        snapshot: Option<&CompiledSnapshot>,
        question: Option<&Question>,
        told: &Told,
    ) -> Result<Desk, Fault> {
        let principal = &handle.bound.principal;
        let watching = snapshot.map(|s| s.monitors(principal)).unwrap_or_default();
        let read = match (snapshot, question) {
            (Some(snapshot), Some(question)) if !watching.is_empty() => {
                self.read_of(snapshot, &handle.bound, question)
            }
            _ => Vec::new(),
        };
        let new = told.facts.iter().filter(|f| f.seq >= handle.next_seq);
        let asked = question.map_or(0, |q| 1 << q.action().code());
        let actions = new.map(actions_of).fold(asked, |all, one| all | one);
        let book = Book::new(handle.run_key, watching);
        let mut desk = Desk { book, read, lost: false, seats: Vec::new() };
        for holder in desk.book.holders(principal, actions, &desk.read) {
            self.seat(who, holder, &mut desk).await?;
        }
        Ok(desk)
    }

    /// What the start or the end of an attempt is looked at with, which takes no place of anybody.
    pub(crate) async fn glance(
        &self,
        who: &Who,
        run_key: i64,
        bound: &Bound,
        snapshot: &CompiledSnapshot,
        question: &Question,
    ) -> Result<Glance, Fault> {
        let read = self.read_of(snapshot, bound, question);
        let watching = snapshot.monitors(&bound.principal);
        let mut glance = Glance { book: Book::new(run_key, watching), read, lost: false };
        if glance.read.is_empty() && !matches!(question, Question::End(_)) {
            return Ok(glance);
        }
        for holder in glance.book.holders(&bound.principal, 0, &glance.read) {
            let bytes = monitors::read(self.db.read(), &who.tenant, &holder).await?;
            match Held::from_bytes(&bytes) {
                Some(held) => glance.book.put(holder, held),
                None => glance.lost = true,
            }
        }
        Ok(glance)
    }

    fn read_of(&self, snapshot: &CompiledSnapshot, bound: &Bound, question: &Question) -> Vec<Arc<Monitor>> {
        let none = runspine_policies_domain::facts::Run::default();
        let resource = resource_of(question, &none, &bound.principal);
        let slice = self.cache.slices.get(snapshot, question.action(), bound, resource);
        // Facts that do not fit are told by the decision.
        slice.map(|(slice, _)| slice.read.clone()).unwrap_or_default()
    }

    async fn seat(&self, who: &Who, holder: String, desk: &mut Desk) -> Result<(), Fault> {
        let cell = self.monitors.cell(&who.tenant, &holder);
        let mut known = Arc::clone(&cell).lock_owned().await;
        if known.is_none() {
            let bytes = monitors::read(self.db.read(), &who.tenant, &holder).await?;
            let digest = monitors::digest(&bytes);
            *known = Held::from_bytes(&bytes).map(|held| Known { digest, held });
        }
        match &*known {
            Some(Known { digest, held }) => {
                desk.book.put(holder.clone(), held.clone());
                let read = *digest;
                desk.seats.push(Seat { holder, read, cell, known });
            }
            None => {
                tracing::error!(holder, "the stored state of a sequence rule can't be read");
                desk.lost = true;
            }
        }
        Ok(())
    }
}

impl Desk {
    /// Whether a state became larger than it may be.
    pub(crate) fn is_full(&self) -> bool {
        self.book.changes().any(|held| held.bytes().len() > MAX_HELD)
    }

    /// What the commit says of the states; others may build on them as soon as the seats are left.
    pub(crate) fn moved(&mut self) -> Vec<Moved> {
        let mut changed: BTreeMap<String, Held> =
            std::mem::take(&mut self.book).changed().into_iter().collect();
        let mut out = Vec::with_capacity(self.seats.len());
        for seat in &mut self.seats {
            let next = changed.remove(&seat.holder).map(|held| {
                let bytes = bytes::Bytes::from(held.bytes());
                *seat.known = Some(Known { digest: monitors::digest(&bytes), held });
                bytes
            });
            out.push(Moved { holder: seat.holder.clone(), read: seat.read, next });
        }
        out
    }

    /// Leaves the seats.
    pub(crate) fn leave(self) -> Pledge {
        Pledge(self.seats.into_iter().map(|s| s.cell).collect())
    }
}
