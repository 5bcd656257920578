//! The audit contract as the journal of a saga beside a run's completion: promised, acknowledged part by part, closed.

use contracts_common::common::v1::{AckStatus, RunPhase};
use contracts_logs::v1::{
    AckSpec, AcknowledgeRequest, AuditContract, ContractKey, DeclareExpectationsRequest, ExpectationSpec,
    GetAuditContractRequest, ReconcilePass, ReconcileRequest,
};
use runspine_errors::Outcome;
use runspine_rpc::{Context, timestamp};
use runspine_types::Micros;

use super::completion::{Driven, Hitch};
use crate::{bridges::Called, kernel::Kernel, metrics, reasons};

/// The part that says that all others are over.
pub(super) const FINALIZE: (&str, &str) = ("orchestrator", "finalize_saga");

/// Which saga, and what it is about.
#[derive(Clone, Copy)]
pub(super) struct Journal<'a> {
    /// The saga's name.
    pub saga: &'static str,
    /// What it is about.
    pub subject: &'a str,
    /// The attempt of it, from 1.
    pub attempt: u32,
}

/// What became of one part.
pub(super) enum Part<'a> {
    /// It is done, with this result.
    Done(&'a str),
    /// It can't be done, for this reason.
    Failed(&'a str),
    /// It was done, with this result, and undone.
    Undone(&'a str),
}

impl Journal<'_> {
    /// The contract's key.
    pub fn key(&self) -> ContractKey {
        ContractKey { saga: self.saga.to_owned(), subject_id: self.subject.to_owned(), attempt: self.attempt }
    }

    fn ack(&self, (domain, action): (&str, &str), part: &Part<'_>, observed_at: Micros) -> AckSpec {
        let (status, result_id, error_reason) = match part {
            Part::Done(id) => (AckStatus::Success, *id, ""),
            Part::Failed(reason) => (AckStatus::Failed, "", *reason),
            Part::Undone(id) => (AckStatus::RolledBack, *id, "COMPENSATED"),
        };
        let name = status.as_str_name().trim_start_matches("ACK_STATUS_");
        AckSpec {
            domain: domain.to_owned(),
            action: action.to_owned(),
            status: status.into(),
            result_id: result_id.to_owned(),
            error_reason: error_reason.to_owned(),
            idempotency_key: format!("{}/{}/{domain}/{action}/{name}", self.subject, self.attempt),
            observed_at: Some(timestamp(observed_at)),
        }
    }
}

/// A part that is due within `deadline_ms`, with what is needed to do it.
pub(super) fn promise(
    (domain, action): (&str, &str),
    deadline_ms: u64,
    input: impl Into<bytes::Bytes>,
) -> ExpectationSpec {
    ExpectationSpec {
        domain: domain.to_owned(),
        action: action.to_owned(),
        due_phase: RunPhase::Created.into(),
        deadline_ms,
        input: input.into(),
    }
}

impl Kernel {
    /// Promises every part of a saga. From then on it can't be forgotten, whatever happens to this replica.
    pub(super) async fn promise_saga(
        &self,
        context: &Context,
        journal: Journal<'_>,
        expectations: Vec<ExpectationSpec>,
        run_timeout_ms: u64,
    ) -> Called<()> {
        let request = DeclareExpectationsRequest { key: Some(journal.key()), expectations, run_timeout_ms };
        self.bridges.contracts.declare(context, request).await.map(|_| ())
    }

    /// What a saga's journal says.
    pub(super) async fn read_saga(&self, context: &Context, journal: Journal<'_>) -> Outcome<AuditContract> {
        let get = GetAuditContractRequest { key: Some(journal.key()) };
        let found = self.bridges.reconciler.contract(context, get).await;
        let found = found.map_err(|miss| miss.into_fault(&reasons::RECORD_UNAVAILABLE))?;
        Ok(found.contract.unwrap_or_default())
    }

    /// Does what is left of a saga, once: `advance` goes on from what the journal says.
    pub(super) async fn drive_saga<F: Future<Output = Result<(), Hitch>> + Send>(
        &self,
        context: &Context,
        journal: Journal<'_>,
        advance: impl FnOnce(AuditContract) -> F + Send,
    ) -> Outcome<Driven> {
        let begun = std::time::Instant::now();
        let contract = self.read_saga(context, journal).await?;
        let (driven, result) = match advance(contract).await {
            Ok(()) => (Driven::Done(Box::new(self.read_saga(context, journal).await?)), "DONE"),
            Err(Hitch::Later(why)) => (Driven::Open(why), "OPEN"),
            Err(Hitch::Stuck(why)) => (Driven::Stuck(why), "STUCK"),
        };
        metrics::SAGA.since(begun, &[("saga", journal.saga)]);
        metrics::SAGAS.increment(&[("saga", journal.saga), ("result", result)]);
        Ok(driven)
    }

    /// Notes what became of parts. None is done before its acknowledgement is durable.
    pub(super) async fn note_saga(
        &self,
        context: &Context,
        journal: Journal<'_>,
        parts: &[((&str, &str), Part<'_>)],
    ) -> Result<(), Hitch> {
        let now = self.now();
        let acks = parts.iter().map(|(action, part)| journal.ack(*action, part, now)).collect();
        let request = AcknowledgeRequest { key: Some(journal.key()), acks, fence: 0 };
        let stored = self.bridges.contracts.acknowledge(context, request).await;
        stored.map(|_| ()).map_err(|miss| Hitch::forward(&miss))
    }

    /// Has a saga judged whose every part is noted.
    pub(super) async fn judge_saga(&self, context: &Context, journal: Journal<'_>) -> Result<(), Hitch> {
        let judge = ReconcileRequest { key: Some(journal.key()), pass: ReconcilePass::Final.into() };
        let judged = self.bridges.contracts.reconcile(context, judge).await;
        judged.map(|_| ()).map_err(|miss| Hitch::forward(&miss))
    }
}
