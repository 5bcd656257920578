//! Which entry may follow, and when a contract may be claimed again.

use std::time::Duration;

use contracts_common::common::v1::AckStatus;
use runspine_errors::Fault;
use runspine_types::Micros;

use super::{Contract, Expectation, Intent, RUN_SAGA, is_finalize};
use crate::reasons::{
    ACK_CONTRADICTORY, ACK_ORDER, CONTRACT_CLOSED, DEADLINE_BACKWARD, HEAD_MOVED, INTENT_EXISTS, STALE_FENCE,
};

/// The pause after a DRIVEN release that leaves the contract overdue: it keeps a worker from spinning on it.
pub const DRIVEN_PAUSE: Duration = Duration::from_secs(5);

/// What an acknowledgement says.
#[derive(Debug, Clone, Copy)]
pub struct AckFacts<'a> {
    /// The domain that acted.
    pub domain: &'a str,
    /// The action.
    pub action: &'a str,
    /// What happened.
    pub status: AckStatus,
    /// Why it failed or was undone.
    pub error_reason: &'a str,
}

/// Whether a run's actions may be acknowledged as NOT_APPLICABLE. In other sagas only finalizing may not.
fn may_be_not_applicable(saga: &str, domain: &str, action: &str) -> bool {
    if saga == RUN_SAGA {
        matches!((domain, action), ("incidents", "create_incident") | ("controls", "settle_budget"))
    } else {
        !is_finalize(saga, domain, action)
    }
}

/// Whether an acknowledgement may follow.
///
/// # Errors
/// ACK_CONTRADICTORY or ACK_ORDER.
pub fn check_ack(contract: &Contract, ack: &AckFacts<'_>) -> Result<(), Fault> {
    let name = format!("{}/{}", ack.domain, ack.action);
    let contradictory = |what: &str| Err(Fault::new(&ACK_CONTRADICTORY, format!("{name}: {what}")));
    match ack.status {
        AckStatus::Success if !ack.error_reason.is_empty() => contradictory("SUCCESS has no error"),
        AckStatus::Failed | AckStatus::RolledBack if ack.error_reason.is_empty() => {
            contradictory("FAILED and ROLLED_BACK need an error_reason")
        }
        AckStatus::NotApplicable if !may_be_not_applicable(&contract.saga, ack.domain, ack.action) => {
            contradictory("this action can't be NOT_APPLICABLE")
        }
        AckStatus::RolledBack => {
            let done = contract.acks_of(ack.domain, ack.action).any(|a| a.status == AckStatus::Success);
            if done {
                return Ok(());
            }
            Err(Fault::new(&ACK_ORDER, format!("{name} was never acknowledged as SUCCESS"))
                .precondition(name, "an earlier SUCCESS"))
        }
        _ => Ok(()),
    }
}

/// Whether an order under `fence` still counts. Whoever holds no claim has the fence 0 of a contract never claimed.
///
/// # Errors
/// STALE_FENCE, with the fence in force.
pub fn check_fence(fence: u64, in_force: u64) -> Result<(), Fault> {
    if fence >= in_force {
        return Ok(());
    }
    Err(Fault::new(&STALE_FENCE, "the contract was claimed by somebody else; read it again")
        .with("fence", in_force))
}

/// Whether what the caller read last is last still.
///
/// # Errors
/// HEAD_MOVED, with the last entry.
pub fn check_head(expected: Option<u64>, last: u64) -> Result<(), Fault> {
    if expected.is_none_or(|seq| seq == last) {
        return Ok(());
    }
    Err(Fault::new(&HEAD_MOVED, "something was written to the contract since; read it again")
        .with("last_seq", last))
}

/// Whether the contract still takes orders.
///
/// # Errors
/// CONTRACT_CLOSED.
pub fn check_open(contract: &Contract, subject_id: &str) -> Result<(), Fault> {
    if !contract.closed {
        return Ok(());
    }
    let subject = format!("contracts/{}/{subject_id}", contract.saga);
    Err(Fault::new(&CONTRACT_CLOSED, "the contract is closed").precondition(subject, "an open contract"))
}

/// The fault for an intent that another one of its kind came before. It names the first, so that the loser can say
/// what won.
#[must_use]
pub fn intent_exists(first: &Intent) -> Fault {
    Fault::new(&INTENT_EXISTS, format!("another {} intent was first", first.kind))
        .with("kind", &first.kind)
        .with("seq", first.seq)
        .with("fence", first.fence)
        .with("recorded_at_us", first.recorded_at.0)
}

/// Whether the deadline of `expectation` may be moved to `to`; `None` suspends the clock.
///
/// # Errors
/// DEADLINE_BACKWARD.
pub fn check_move(contract: &Contract, expectation: &Expectation, to: Option<Micros>) -> Result<(), Fault> {
    match (to, contract.original_due(expectation)) {
        (Some(to), Some(original)) if to < original => {
            let name = format!("{}/{}", expectation.domain, expectation.action);
            Err(Fault::new(&DEADLINE_BACKWARD, format!("{name} was due later from the start"))
                .precondition(name, "a deadline not before the original one")
                .with("original_us", original.0))
        }
        _ => Ok(()),
    }
}

/// What a release does to a contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// RETRY releases since the last progress.
    pub retries: u32,
    /// Not to be claimed before this.
    pub next_attempt_at: Option<Micros>,
    /// Whether only a person can let it go on.
    pub parked: bool,
}

/// After a claim that moved the contract: it may be claimed as soon as it is overdue, and a little later when it is
/// overdue still.
#[must_use]
pub fn release_driven(next_deadline: Option<Micros>, now: Micros) -> Release {
    let overdue = next_deadline.is_some_and(|due| due <= now);
    Release { retries: 0, next_attempt_at: overdue.then(|| now + DRIVEN_PAUSE), parked: false }
}

/// How long to pause between tries that fail, and when to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The longest pause.
    pub cap: Duration,
    /// The RETRY release that parks the contract.
    pub park_after: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { cap: Duration::from_secs(300), park_after: 20 }
    }
}

impl Backoff {
    /// After a claim that could not move the contract for the k-th time: a pause of `2^k` s up to the cap, ±20 % by
    /// `jitter` (0 to 65535), and at last a person's turn.
    #[must_use]
    pub fn retry(&self, earlier: u32, jitter: u16, now: Micros) -> Release {
        let retries = earlier.saturating_add(1);
        if retries >= self.park_after {
            return Release { retries, next_attempt_at: None, parked: true };
        }
        let base = Duration::from_secs(1_u64 << retries.min(32)).min(self.cap);
        let share = 80_000 + 40_000 * u32::from(jitter) / u32::from(u16::MAX);
        Release { retries, next_attempt_at: Some(now + base * share / 100_000), parked: false }
    }
}

/// After a claim that found what only a person can settle.
#[must_use]
pub fn release_parked(retries: u32) -> Release {
    Release { retries, next_attempt_at: None, parked: true }
}
