//! Reads the journal: what was intended and what was acknowledged.

use contracts_common::common::v1::AckStatus;
use contracts_logs::v1::{AckView, AuditContract, ContractState};

use super::{
    ending::{COMPLETION, first_intent},
    plan::{Ack, Act, Progress},
    undo::COMPENSATION,
};
use crate::kernel::Attempt;

/// A contract read as the journal of a saga.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    /// Where the attempt stands.
    pub progress: Progress,
    /// What was intended.
    pub intent: Option<contracts_spine::v1::CompletionIntent>,
    /// The contract's fence: goes with whatever moves it.
    pub fence: u64,
}

impl Journal {
    /// Reads a contract beside the state of its attempt.
    #[must_use]
    pub fn read(contract: &AuditContract, state: Option<&Attempt>) -> Self {
        let has = |kind: &str| contract.intents.iter().any(|i| i.kind == kind);
        let progress = Progress {
            run: state.map(|s| (s.phase(), s.status())),
            completion: has(COMPLETION),
            compensation: has(COMPENSATION),
            incident: ack(contract, Act::ReportOutcome),
            evaluation: ack(contract, Act::RecordEvaluation),
            settlement: ack(contract, Act::SettleBudget),
            sealed: contract.state() == ContractState::Closed,
        };
        Self { progress, intent: first_intent(contract), fence: contract.fence }
    }
}

fn ack(contract: &AuditContract, act: Act) -> Ack {
    latest(contract, act.name()).map_or(Ack::Open, |a| match a.status() {
        AckStatus::Success => Ack::Done(a.result_id.clone()),
        AckStatus::NotApplicable => Ack::NotApplicable(a.result_id.clone()),
        AckStatus::Failed | AckStatus::Unspecified => Ack::Failed(a.error_reason.clone()),
        AckStatus::RolledBack => Ack::RolledBack(a.result_id.clone()),
    })
}

/// The latest acknowledgement of an action: of each the one with the highest sequence decides.
#[must_use]
pub fn latest<'a>(contract: &'a AuditContract, (domain, action): (&str, &str)) -> Option<&'a AckView> {
    contract.acks.iter().filter(|a| a.domain == domain && a.action == action).max_by_key(|a| a.seq)
}
