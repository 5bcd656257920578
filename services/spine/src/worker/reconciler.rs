//! Drives every promise to its end: claims what is overdue, does what the journal says, and forgives nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use contracts_activity::v1::{ClaimLapsedRequest, ClearPausesRequest, LapseCause, LapsedRun, PauseTimeout};
use contracts_common::common::v1::TerminationReason;
use contracts_logs::v1::{ClaimOverdueRequest, ContractClaim, DriveResult, ReleaseClaimRequest};
use futures::StreamExt;
use runspine_errors::Outcome;
use runspine_rpc::Context;
use runspine_types::{Hasher, new_id};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::observed;
use crate::{
    config::ReconcilerConfig,
    kernel::{Kernel, LedgerNote, termination::code},
    metrics,
    sagas::{
        completion::{Driven, Ending, OpenedBy},
        drive,
    },
};

/// Calls that the reconciler makes.
pub const CALLS: &[&str] = &[
    "runspine.logs.v1.AuditContractService/ClaimOverdue",
    "runspine.logs.v1.AuditContractService/ReleaseClaim",
    "runspine.logs.v1.AuditContractService/GetAuditContract",
    "runspine.logs.v1.AuditContractService/AppendIntent",
    "runspine.logs.v1.AuditContractService/Acknowledge",
    "runspine.logs.v1.AuditContractService/Reconcile",
    "runspine.logs.v1.AuditContractService/MoveDeadline",
    "runspine.logs.v1.AuditContractService/DeclareExpectations",
    "runspine.logs.v1.TraceService/StartTrace",
    "runspine.logs.v1.TraceService/AppendRecords",
    "runspine.logs.v1.TraceService/ListRecords",
    "runspine.logs.v1.TraceService/GetTrace",
    "runspine.logs.v1.TraceService/SealTrace",
    "runspine.logs.v1.TraceService/LinkIncident",
    "runspine.logs.v1.LedgerService/AppendEntries",
    "runspine.logs.v1.LedgerService/CreateCheckpoint",
    "runspine.logs.v1.ExportService/AddExportPart",
    "runspine.logs.v1.ExportService/CreateExport",
    "runspine.logs.v1.ExportService/GetExport",
    "runspine.activity.v1.RunQueryService/GetRunView",
    "runspine.activity.v1.RunStoreService/ClaimLapsed",
    "runspine.activity.v1.RunStoreService/GetRunState",
    "runspine.activity.v1.RunStoreService/CreateRun",
    "runspine.activity.v1.RunStoreService/CreateAttempt",
    "runspine.activity.v1.RunStoreService/TransitionRun",
    "runspine.activity.v1.RunStoreService/FinishRun",
    "runspine.activity.v1.RunStoreService/ClearPauses",
    "runspine.activity.v1.RunStoreService/ExtendPause",
    "runspine.incidents.v1.IncidentReportService/ReportRunOutcome",
    "runspine.incidents.v1.IncidentReportService/ReportIncident",
    "runspine.incidents.v1.IncidentReportService/VoidIncident",
    "runspine.incidents.v1.IncidentReportService/OpenViolationIncident",
    "runspine.incidents.v1.IncidentService/ListRunIncidents",
    "runspine.incidents.v1.IncidentExportService/PrepareExport",
    "runspine.incidents.v1.IncidentExportService/CompleteExport",
    "runspine.incidents.v1.IncidentExportService/FailExport",
    "runspine.incidents.v1.IncidentExportService/GetIncidentExport",
    "runspine.policies.v1.ViolationService/GetViolation",
    "runspine.policies.v1.DecisionService/ExportDecisions",
    "runspine.policies.v1.DecisionService/GetRunPolicyEvidence",
    "runspine.policies.v1.DecisionService/EvaluateRun",
    "runspine.policies.v1.DecisionService/GetDecision",
    "runspine.policies.v1.ApprovalService/GetApproval",
    "runspine.policies.v1.DecisionService/RecordEvaluation",
    "runspine.policies.v1.DecisionService/ObserveSteps",
    "runspine.policies.v1.DecisionService/SupersedeEvaluation",
    "runspine.policies.v1.ApprovalService/CancelApprovals",
    "runspine.controls.v1.BudgetService/SettleRun",
    "runspine.controls.v1.BudgetService/ReverseSettlement",
    "runspine.controls.v1.SignalService/GetRunControlsEvidence",
    "runspine.controls.v1.AdmissionService/RenewRunLease",
    "runspine.controls.v1.AdmissionService/SimulateAdmission",
    observed::CALLS[0],
    observed::CALLS[1],
];

/// What this replica's reconciler has done.
#[derive(Debug, Default)]
pub struct Tally {
    /// Contracts and runs claimed.
    pub claimed: AtomicU64,
    /// Driven to their end.
    pub driven: AtomicU64,
    /// Put back.
    pub retried: AtomicU64,
    /// Parked.
    pub parked: AtomicU64,
    /// Passes.
    pub passes: AtomicU64,
    /// When the last pass ended, microseconds since the epoch.
    pub last_pass_us: AtomicI64,
    /// Events relayed.
    pub events_relayed: AtomicU64,
}

/// The worker of one replica.
pub struct Reconciler {
    pub(super) kernel: Arc<Kernel>,
    pub(super) context: Context,
    pub(super) config: ReconcilerConfig,
    replica: String,
    tally: Arc<Tally>,
}

impl Reconciler {
    /// A reconciler that acts under `context`, the worker's own.
    #[must_use]
    pub fn new(
        kernel: Arc<Kernel>,
        context: Context,
        config: ReconcilerConfig,
        replica: String,
        tally: Arc<Tally>,
    ) -> Self {
        Self { kernel, context, config, replica, tally }
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.pass().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(self.interval()) => {}
            }
        }
    }

    /// ±20 %, so that replicas do not march in step.
    fn interval(&self) -> Duration {
        let passes = self.tally.passes.load(Ordering::Relaxed);
        let digest = Hasher::new("runspine.poll.v1")
            .sized(self.replica.as_bytes())
            .fixed(&passes.to_be_bytes())
            .finish();
        let permille = 800 + u64::from(digest.0[0]) * 400 / 255;
        Duration::from_millis(self.config.poll_ms.max(1) * permille / 1_000)
    }

    /// One pass over its sources. Observed runs come first: one whose lease is renewed does not lapse.
    pub async fn pass(&self) {
        let observed = self.observed().await;
        let lapsed = self.lapsed().await;
        let overdue = self.overdue().await;
        self.tally
            .claimed
            .fetch_add(u64::try_from(lapsed.len() + overdue.len()).unwrap_or(0), Ordering::Relaxed);
        let parallel = self.config.parallel.max(1);
        futures::stream::iter(observed).for_each_concurrent(parallel, |run| self.look_after(run)).await;
        futures::stream::iter(lapsed).for_each_concurrent(parallel, |run| self.end_lapsed(run)).await;
        futures::stream::iter(overdue).for_each_concurrent(parallel, |claim| self.drive_claim(claim)).await;
        self.tally.passes.fetch_add(1, Ordering::Relaxed);
        self.tally.last_pass_us.store(self.kernel.now().0, Ordering::Relaxed);
    }

    async fn lapsed(&self) -> Vec<LapsedRun> {
        let request = ClaimLapsedRequest {
            request_id: new_id(),
            worker_id: self.replica.clone(),
            limit: self.config.batch,
            lease_ms: self.config.claim_ms,
        };
        match self.kernel.bridges.leases.claim_lapsed(&self.context, request).await {
            Ok(claimed) => claimed.runs,
            Err(miss) => {
                tracing::warn!(?miss, "lapsed runs can't be claimed");
                Vec::new()
            }
        }
    }

    async fn overdue(&self) -> Vec<ContractClaim> {
        let request = ClaimOverdueRequest {
            worker_id: self.replica.clone(),
            limit: self.config.batch,
            lease_ms: u64::try_from(self.config.claim_ms).unwrap_or(30_000),
            request_id: new_id(),
        };
        match self.kernel.bridges.reconciler.claim(&self.context, request).await {
            Ok(claimed) => claimed.claims,
            Err(miss) => {
                tracing::warn!(?miss, "overdue contracts can't be claimed");
                Vec::new()
            }
        }
    }

    pub(super) fn context_for(&self, tenant: &str, run_id: &str) -> Context {
        let until = tokio::time::Instant::now()
            + Duration::from_millis(u64::try_from(self.config.claim_ms).unwrap_or(30_000));
        self.context
            .with(|call| {
                tenant.clone_into(&mut call.tenant_id);
                run_id.clone_into(&mut call.run_id);
                call.correlation_id = new_id();
            })
            .until(Some(until))
    }

    /// Ends, or lets go on, a run that nobody keeps alive.
    async fn end_lapsed(&self, run: LapsedRun) {
        let context = self.context_for(&run.tenant_id, &run.run_id);
        let cause = run.cause();
        let result = match cause {
            LapseCause::PauseExpiring => self.warn_of_pause(&context, &run).await,
            LapseCause::PauseExpired => self.end_pause(&context, &run).await,
            _ => self.end_run(&context, &run, ending(cause)).await,
        };
        match result {
            Ok(()) => {
                self.tally.driven.fetch_add(1, Ordering::Relaxed);
            }
            Err(fault) => {
                self.tally.retried.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(run_id = run.run_id, ?cause, %fault, "a lapsed run is tried again");
            }
        }
    }

    async fn end_run(&self, context: &Context, run: &LapsedRun, ending: Ending) -> Outcome<()> {
        self.kernel.end(context, &run.run_id, run.attempt, ending).await?;
        match self.kernel.drive(context, &run.run_id, run.attempt).await? {
            Driven::Done(_) => {}
            // The contract itself is overdue soon and is claimed then.
            Driven::Open(why) | Driven::Stuck(why) => {
                tracing::warn!(run_id = run.run_id, why, "a lapsed run does not end yet");
            }
        }
        Ok(())
    }

    async fn warn_of_pause(&self, context: &Context, run: &LapsedRun) -> Outcome<()> {
        for pause in &run.pauses {
            let said = LedgerNote {
                event: "spine.RunPauseExpiring",
                run_id: &run.run_id,
                attempt: run.attempt,
                key: &pause.pause_id,
                reason: "PAUSE_EXPIRING",
                ..LedgerNote::default()
            };
            self.kernel.tell_ledger(context, &said).await?;
        }
        Ok(())
    }

    /// What the pause said would happen when it ends.
    async fn end_pause(&self, context: &Context, run: &LapsedRun) -> Outcome<()> {
        let now = self.kernel.now();
        let over = |p: &&contracts_activity::v1::Pause| {
            p.deadline.as_ref().is_some_and(|d| runspine_rpc::micros(d) <= now)
        };
        let Some(pause) = run.pauses.iter().find(|p| over(p)) else { return Ok(()) };
        match pause.on_timeout() {
            PauseTimeout::Continue => {
                let clear = ClearPausesRequest {
                    request_id: pause.pause_id.clone(),
                    run_id: run.run_id.clone(),
                    attempt: run.attempt,
                    pause_ids: vec![pause.pause_id.clone()],
                    actor: None,
                    authority: contracts_activity::v1::Authority::SystemAuto.into(),
                    note: "the pause reached its deadline".to_owned(),
                    fence: run.fence,
                };
                let cleared = self.kernel.bridges.stops.clear(context, clear).await;
                cleared.map(|_| ()).map_err(|miss| miss.into_fault(&crate::reasons::RECORD_UNAVAILABLE))
            }
            PauseTimeout::Escalate if pause.extended_at.is_none() => {
                tracing::warn!(run_id = run.run_id, alert = "PAUSE_EXPIRED", "a pause is escalated");
                let extend = contracts_activity::v1::ExtendPauseRequest {
                    run_id: run.run_id.clone(),
                    attempt: run.attempt,
                    pause_id: pause.pause_id.clone(),
                    on_timeout: PauseTimeout::Terminate.into(),
                    fence: run.fence,
                };
                let extended = self.kernel.bridges.stops.extend(context, extend).await;
                extended.map(|_| ()).map_err(|miss| miss.into_fault(&crate::reasons::RECORD_UNAVAILABLE))
            }
            _ => self.end_run(context, run, expired(pause.reason())).await,
        }
    }

    /// Drives a contract under its claim and gives the claim back with what came of it.
    async fn drive_claim(&self, claim: ContractClaim) {
        let Some(contract) = claim.contract else { return };
        let Some(key) = contract.key.clone() else { return };
        let context = self.context_for(&contract.tenant_id, drive::run_of(&key));
        let (result, reason) = match self.kernel.drive_contract(&context, &contract).await {
            Ok(done) => done,
            Err(fault) => (DriveResult::Retry, fault.to_string()),
        };
        let counter = match result {
            DriveResult::Driven => &self.tally.driven,
            DriveResult::Park => &self.tally.parked,
            _ => &self.tally.retried,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let word = result.as_str_name().trim_start_matches("DRIVE_RESULT_");
        metrics::DRIVES.increment(&[("result", word)]);
        let release = ReleaseClaimRequest {
            key: Some(key),
            fence: claim.fence,
            drive_result: result.into(),
            error_reason: reason.chars().take(200).collect(),
        };
        if let Err(miss) = self.kernel.bridges.reconciler.release(&context, release).await {
            tracing::warn!(?miss, "a claim is left to its end");
        }
    }
}

fn ending(cause: LapseCause) -> Ending {
    match cause {
        LapseCause::TimedOut => Ending {
            causes: vec![TerminationReason::Timeout],
            error_code: code::RUN_TIMEOUT.to_owned(),
            ..Ending::new(OpenedBy::TimedOut)
        },
        // The stop itself says why; its cause is added when the intent is made.
        LapseCause::StopDrained => Ending::new(OpenedBy::Halted),
        _ => Ending {
            causes: vec![TerminationReason::SystemFailure],
            error_code: code::STALE_RUN.to_owned(),
            ..Ending::new(OpenedBy::Stale)
        },
    }
}

fn expired(reason: contracts_activity::v1::PauseReason) -> Ending {
    use contracts_activity::v1::PauseReason;
    let cause = match reason {
        PauseReason::PolicyChange | PauseReason::ApprovalRequired => TerminationReason::PolicyBlock,
        PauseReason::BudgetWarning => TerminationReason::BudgetExceeded,
        PauseReason::RateLimitSoft => TerminationReason::RateLimited,
        PauseReason::Freeze => TerminationReason::Frozen,
        PauseReason::ManualPause | PauseReason::Unspecified => TerminationReason::UserAbort,
    };
    Ending {
        causes: vec![cause],
        error_code: code::PAUSE_EXPIRED.to_owned(),
        ..Ending::new(OpenedBy::Halted)
    }
}
