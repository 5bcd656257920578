//! The use cases. Each opens the one transaction of its call.

pub mod accounts;
pub mod adjust;
mod admit;
pub mod alerts;
pub mod breakers;
pub mod bypasses;
mod charge;
pub mod containment;
pub mod coordination;
pub mod costsim;
mod ends;
pub mod epochs;
pub mod estimates;
mod evaluations;
mod evidence;
pub mod freezes;
mod gates;
mod gauges;
pub mod guardrails;
pub mod health;
pub mod limits;
mod overridden;
pub mod overrides;
mod prepare;
pub(crate) mod present;
pub mod rates;
pub mod records;
pub mod scopes;
pub mod settings;
mod shut;
pub mod signals;
mod simulate;
mod undecided;
mod watchers;

use std::sync::Arc;

use runspine_boot::Parts;
use runspine_controls_domain::{costsim::CostSimSettings, guardrail::Defaults};
use runspine_db::{Batcher, Db};
use runspine_errors::{Fault, mesh};
use runspine_types::Clock;

use crate::store::histories::Histories;
use accounts::Accounts;
pub use ends::EXPIRY_MS;
pub use watchers::Watchers;

/// What every use case needs. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The store.
    pub db: Db,
    /// Where calls that move amounts are handed in.
    pub accounts: Batcher<Accounts>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Replicas of the spine that follow the epoch here.
    pub watchers: Watchers,
    /// What steps used, for the estimates of later ones.
    pub histories: Arc<Histories>,
    /// When each part of the domain worked last.
    pub parts: Arc<Parts>,
    /// What is wanted of the candidate for the next cost model while a tenant has set nothing.
    pub costsim: CostSimSettings,
    /// What a tenant's guardrails are given when it is seen the first time. None: it is given none.
    pub guardrails: Option<Defaults>,
}

impl App {
    /// Over a store.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>, guardrails: Option<Defaults>) -> Self {
        let histories = Arc::new(Histories::default());
        let accounts = db.batcher(Accounts::new(clock.clone(), guardrails, Arc::clone(&histories)));
        Self {
            db,
            accounts,
            clock,
            watchers: Watchers::default(),
            histories,
            parts: Arc::default(),
            costsim: CostSimSettings::default(),
            guardrails,
        }
    }

    /// With other defaults for the candidate.
    #[must_use]
    pub fn with_costsim(self, costsim: CostSimSettings) -> Self {
        Self { costsim, ..self }
    }
}

/// A defect: what was to be there by construction is not.
pub(crate) fn defect(what: &'static str) -> Fault {
    tracing::error!(what, "a defect in controls");
    Fault::new(&mesh::INTERNAL, "the operation failed; nothing was changed")
}
