//! The run kernel: decides nothing of its own, moves every phase, and answers only when what it says is durable.

pub mod again;
pub mod combine;
pub mod session;
pub mod termination;

mod approvals;
mod authorize;
mod bypass;
mod cancel;
mod charter;
mod claim;
mod complete;
mod deadline;
mod decide;
mod driven;
mod enforce;
mod environment;
mod evidence;
mod freeze;
mod frozen;
mod history;
mod incident_exports;
mod kept;
mod late;
mod lease;
mod ledger;
mod lessons;
mod limits;
mod moves;
mod operations;
mod orders;
mod pauses;
mod present;
mod record;
mod record_answer;
mod refuse;
mod repeat;
mod replay;
mod report;
mod resume;
mod sessions;
mod spans;
mod start;
mod state;
pub(crate) mod step_check;
mod taught;
mod trace;
mod undecided;
mod uses;
pub(crate) mod validate;
#[cfg(test)]
mod verdicts;
mod violations;

use std::sync::Arc;

pub(crate) use charter::{attributes, contract_key};
pub(crate) use decide::rule_ids;
pub(crate) use freeze::frozen;
pub use freeze::{FreezeView, Heard};
pub(crate) use history::{FACTS, expected_seq};
pub use ledger::{LedgerNote, note};
pub use operations::RunOperations;
pub(crate) use operations::{Bound as RunBound, inside};
pub(crate) use present::{charter_of, pause, run_attempt, run_of_view, transition};
pub(crate) use refuse::as_callers_fault;
use runspine_rpc::Context;
use runspine_types::{Clock, Micros};
pub use sessions::Sessions;
pub(crate) use sessions::Slot;
pub(crate) use start::{OBSERVED_LEASE_MS, observed_charter_of};
pub use state::Attempt;
pub(crate) use trace::outcome_code;
pub(crate) use uses::{Ended, Uses, Waiting};

use crate::{bridges::Bridges, config::KernelConfig};

/// The kernel of one replica. Everything durable is elsewhere: it may be thrown away at any moment.
pub struct Kernel {
    pub(crate) bridges: Bridges,
    pub(crate) config: KernelConfig,
    pub(crate) sessions: Sessions,
    pub(crate) freezes: Arc<FreezeView>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) uses: Uses,
}

impl Kernel {
    /// A kernel over the given bridges.
    #[must_use]
    pub fn new(
        bridges: Bridges,
        config: KernelConfig,
        freezes: Arc<FreezeView>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let sessions = Sessions::new(config.sessions);
        Self { bridges, config, sessions, freezes, clock, uses: Uses::default() }
    }

    /// The bridges, for the coordinators beside the kernel.
    #[must_use]
    pub fn bridges(&self) -> &Bridges {
        &self.bridges
    }

    pub(crate) fn now(&self) -> Micros {
        self.clock.now()
    }

    /// The name of whoever calls, as a holder of leases.
    pub(crate) fn holder(context: &Context, asked: &str) -> String {
        if asked.is_empty() { context.credential_id.clone() } else { asked.to_owned() }
    }
}
