//! The use cases. Each opens the one transaction of its call.

pub mod accounts;
pub mod adjust;
mod admit;
mod charge;
mod ends;
pub mod epochs;
pub mod freezes;
mod gates;
pub mod limits;
mod prepare;
mod present;
pub mod rates;
pub mod records;
pub mod signals;
mod simulate;

use std::sync::Arc;

use runspine_db::{Batcher, Db};
use runspine_errors::{Fault, mesh};
use runspine_types::Clock;

use accounts::Accounts;
pub use ends::EXPIRY_MS;

/// What every use case needs. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The store.
    pub db: Db,
    /// Where calls that move amounts are handed in.
    pub accounts: Batcher<Accounts>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl App {
    /// Over a store.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>) -> Self {
        let accounts = db.batcher(Accounts::new(clock.clone()));
        Self { db, accounts, clock }
    }
}

/// A defect: what was to be there by construction is not.
pub(crate) fn defect(what: &'static str) -> Fault {
    tracing::error!(what, "a defect in controls");
    Fault::new(&mesh::INTERNAL, "the operation failed; nothing was changed")
}
