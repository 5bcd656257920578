//! Does what is left of any promise, by the name of its saga: for the reconciler under its claim, and for a person who
//! asks for it. Every action is idempotent, so that nobody has to wait for the other.

use contracts_common::common::v1::{RunPhase, TerminationReason};
use contracts_logs::v1::{AuditContract, ContractKey, DriveResult, ReconcilePass, ReconcileRequest};
use runspine_errors::Outcome;
use runspine_rpc::{Context, micros};

use super::{
    completion::{Driven, Ending, OpenedBy, first_intent},
    export, incident_export, retry, violation,
};
use crate::kernel::{Attempt, Kernel, observed_charter_of, termination::code};

/// The deadline of StartRun: a start that is older has stopped.
const START_TAKES_MS: i64 = 5_000;

/// How a drive went, and why it did not go further.
pub(crate) type Drive = (DriveResult, String);

/// The run that a contract is about. Empty: the subject of a saga about something in a run is no run.
pub(crate) fn run_of(key: &ContractKey) -> &str {
    if [violation::SAGA, export::SAGA, incident_export::SAGA].contains(&key.saga.as_str()) {
        ""
    } else {
        &key.subject_id
    }
}

impl Kernel {
    /// Does what is left of a promise, once.
    ///
    /// # Errors
    /// When its journal or its run can't be read.
    pub(crate) async fn drive_contract(&self, context: &Context, contract: &AuditContract) -> Outcome<Drive> {
        let Some(key) = &contract.key else {
            return Ok((DriveResult::Park, "a contract without a name".to_owned()));
        };
        match key.saga.as_str() {
            // The completion makes the attempt that follows it.
            retry::SAGA => self.drive(context, &key.subject_id, key.attempt).await.map(told),
            export::SAGA => self.drive_export(context, &key.subject_id).await.map(told),
            incident_export::SAGA => self.drive_incident_export(context, &key.subject_id).await.map(told),
            violation::SAGA => self.drive_violation(context, &key.subject_id).await.map(told),
            _ => self.drive_attempt(context, key, contract).await,
        }
    }

    /// Drives an attempt: ends a start that stopped half-way, completes what is to be completed, makes what follows.
    async fn drive_attempt(
        &self,
        context: &Context,
        key: &ContractKey,
        contract: &AuditContract,
    ) -> Outcome<Drive> {
        let (run_id, attempt) = (key.subject_id.as_str(), key.attempt);
        let state = self.read_attempt(context, run_id, attempt, false).await?;
        if attempt > 1 && is_unmade(contract, state.as_ref()) {
            return self.drive(context, run_id, attempt - 1).await.map(told);
        }
        if self.is_abandoned(contract, state.as_ref()) {
            if let Some(charter) = observed_charter_of(contract).filter(|_| first_intent(contract).is_none())
            {
                // What its spans tell of has happened, however far their exporter came.
                self.go_on_observing(context, &charter).await?;
                return Ok((DriveResult::Driven, String::new()));
            }
            let abandoned = Ending {
                causes: vec![TerminationReason::SystemFailure],
                error_code: code::START_ABANDONED.to_owned(),
                // Whoever goes on with the start in the meantime moves its deadline, and is not overtaken.
                decided_at_seq: contract.last_seq,
                ..Ending::new(OpenedBy::Stale)
            };
            self.end(context, run_id, attempt, abandoned).await?;
        }
        let (result, why) = self.drive(context, run_id, attempt).await.map(told)?;
        if result == DriveResult::Retry {
            // Nothing can be driven now: the audit says what it sees, once per change.
            let check = ReconcileRequest { key: contract.key.clone(), pass: ReconcilePass::Check.into() };
            if let Err(miss) = self.bridges.contracts.reconcile(context, check).await {
                tracing::warn!(run_id, ?miss, "an overdue contract was not judged");
            }
        }
        Ok((result, why))
    }

    /// Whether a start stopped half-way: before the run existed, or before it was set going. A run that waits for a
    /// worker has no clock that runs; one that was set going has a lease, or will end by it.
    fn is_abandoned(&self, contract: &AuditContract, state: Option<&Attempt>) -> bool {
        let now = self.now();
        let Some(state) = state else {
            // A start that still goes on is not abandoned.
            let declared = contract.declared_at.as_ref().map(micros);
            return declared.is_some_and(|at| now.millis_since(at) >= START_TAKES_MS);
        };
        let begun = matches!(state.phase(), RunPhase::Created | RunPhase::Authorized);
        let finalize = contract.expectations.iter().find(|e| e.action == "finalize_run" && !e.suspended);
        let due = finalize.and_then(|e| e.due_at.as_ref()).map(micros);
        begun && due.is_some_and(|at| at <= now)
    }
}

fn told(driven: Driven) -> Drive {
    match driven {
        Driven::Done(_) => (DriveResult::Driven, String::new()),
        Driven::Stuck(why) => {
            tracing::error!(why, alert = "SAGA_PARKED", "a saga is parked");
            (DriveResult::Park, why)
        }
        Driven::Open(why) => (DriveResult::Retry, why),
    }
}

/// Whether a further attempt was promised and its making stopped half-way: the one before goes on with it.
fn is_unmade(contract: &AuditContract, state: Option<&Attempt>) -> bool {
    let waits = |s: &Attempt| matches!(s.phase(), RunPhase::Created | RunPhase::Authorized);
    first_intent(contract).is_none() && state.is_none_or(waits)
}
