//! The use cases. Each opens and commits the one transaction of its call.

mod command;
mod create;
mod emit;
mod export;
mod open_violation;
mod place;
mod read;
mod report_incident;
mod report_outcome;
mod void;

use std::sync::Arc;

use bytes::Bytes;
use runspine_db::Db;
use runspine_errors::{Fault, mesh};
use runspine_incidents_domain::EvidenceKind;
use runspine_rpc::Context;
use runspine_types::{Clock, Micros};

pub use command::{Command, Order};
pub use create::NewIncident;
pub use export::{Ending, NewExport};
pub use open_violation::{ViolationAnswer, ViolationReport};
pub use read::{Detail, ListQuery, RunIncidents, decode_place};
pub use report_incident::{FactAnswer, FactReport};
pub use report_outcome::OutcomeAnswer;
pub use void::VoidOrder;

use crate::config::Config;

/// The domain behind its RPCs. Cheap to clone.
#[derive(Clone)]
pub struct App {
    db: Db,
    clock: Arc<dyn Clock>,
    config: Arc<Config>,
}

/// Who does something, when, and what it belongs to: what every row and event of a change carries.
#[derive(Debug, Clone)]
pub struct Act {
    /// The tenant of the credential.
    pub tenant: String,
    /// What kind of actor, by number.
    pub actor_type: i32,
    /// Who.
    pub actor_id: String,
    /// When.
    pub now: Micros,
    /// Joins everything that one client call led to.
    pub correlation_id: String,
    /// What caused it.
    pub causation_id: String,
    /// Digest of the resolved configuration.
    pub config_digest: Bytes,
}

/// One piece of evidence, to be stored.
#[derive(Debug, Clone)]
pub struct EvidencePiece {
    /// Its id.
    pub id: String,
    /// What kind it is.
    pub kind: EvidenceKind,
    /// The rule that it belongs to; empty: none.
    pub rule_id: String,
    /// The redacted value.
    pub value: String,
    /// The condition that the value met.
    pub condition: String,
    /// Digest of what is meant; empty: none.
    pub digest: Bytes,
    /// The step that it was captured at.
    pub step_index: Option<u32>,
    /// Its place on the trace.
    pub trace_position: Option<u64>,
    /// The trace's link at that place; empty: none.
    pub trace_link: Bytes,
}

impl App {
    /// Over an open store.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>, config: Config) -> Self {
        Self { db, clock, config: Arc::new(config) }
    }

    /// The store.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    /// The act that a call is.
    #[must_use]
    pub fn act(&self, call: &Context) -> Act {
        let actor = call.actor.clone().unwrap_or_default();
        Act {
            tenant: call.tenant_id.clone(),
            actor_type: actor.r#type,
            actor_id: actor.id,
            now: self.clock.now(),
            correlation_id: call.correlation_id.clone(),
            causation_id: call.causation_id.clone(),
            config_digest: call.config_digest.clone(),
        }
    }
}

/// Another replica was first: nothing was changed, and the repeated call finds what that one did.
fn contended() -> Fault {
    Fault::new(&mesh::STORE_UNAVAILABLE, "another replica changed the same incident first; repeat the call")
        .retry_after(std::time::Duration::from_millis(20))
}
