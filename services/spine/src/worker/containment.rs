//! Carries a freeze out: says which epoch this replica has confirmed and which agents have heard, stops or pauses every
//! run in scope whether its agent speaks or not, and lets paused runs go on when the freeze has ended.
//!
//! Nothing is remembered that can't be read again: another replica, or this one after a crash, comes to the same.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use contracts_controls::v1::{
    AckContainmentRequest, ContainedRun, ContainmentEvidence, ContainmentProof, FreezeEffect, FreezeRecord,
    GetContainmentRequest, RunAcknowledgement,
};
use futures::StreamExt;
use runspine_errors::Outcome;
use runspine_rpc::Context;
use runspine_types::{PLATFORM_TENANT, new_id};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    kernel::{Heard, Kernel},
    reasons,
};

/// Calls that the worker makes.
pub const CALLS: &[&str] = &[
    "runspine.controls.v1.FreezeService/AckContainment",
    "runspine.controls.v1.FreezeService/GetContainment",
    "runspine.controls.v1.AdmissionService/RenewRunLease",
    "runspine.activity.v1.RunStoreService/GetRunState",
    "runspine.activity.v1.RunStoreService/RequestStop",
    "runspine.activity.v1.RunStoreService/AddPause",
    "runspine.activity.v1.RunStoreService/ClearPauses",
    "runspine.logs.v1.TraceService/AppendRecords",
    "runspine.logs.v1.AuditContractService/GetAuditContract",
    "runspine.logs.v1.AuditContractService/MoveDeadline",
    "runspine.logs.v1.LedgerService/AppendEntries",
];

/// How often is looked after a freeze that is not carried out yet.
const LOOK: Duration = Duration::from_millis(500);
/// How often it is asked whether agents have heard of a freeze.
const LISTEN: Duration = Duration::from_millis(50);
/// Runs that are stopped at the same time.
const PARALLEL: usize = 8;
/// How long one pass over a freeze may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Agents that one acknowledgement names.
const MOST_HEARD: usize = 1_000;

/// The worker of one replica.
pub struct Containment {
    kernel: Arc<Kernel>,
    context: Context,
    replica: String,
}

/// What this replica has done already.
#[derive(Default)]
struct Done {
    /// Freezes of which every run was stopped or paused.
    carried_out: HashSet<String>,
    /// Runs that were stopped or paused, by freeze.
    orders: HashMap<String, HashSet<(String, u32)>>,
    /// Freezes in force that pause.
    pausing: HashMap<String, FreezeRecord>,
}

impl Containment {
    /// A worker that acts under `context`, its own.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>, context: Context, replica: String) -> Self {
        Self { kernel, context, replica }
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.acknowledge(stop.clone()), self.carry_out(stop));
    }

    /// Confirms each freeze once, and tells of every agent that took its notice.
    async fn acknowledge(&self, stop: CancellationToken) {
        let (mut news, mut confirmed) = (self.kernel.freezes.news(), HashSet::new());
        let mut waiting: Vec<Heard> = Vec::new();
        while !stop.is_cancelled() {
            waiting.extend(self.kernel.freezes.take_heard());
            let freezes = self.kernel.freezes.in_force(self.kernel.now());
            confirmed.retain(|id| freezes.iter().any(|f| f.freeze_id == *id));
            waiting.retain(|heard| freezes.iter().any(|f| f.freeze_id == heard.freeze_id));
            for freeze in &freezes {
                let heard: Vec<Heard> = waiting
                    .iter()
                    .filter(|h| h.freeze_id == freeze.freeze_id)
                    .take(MOST_HEARD)
                    .cloned()
                    .collect();
                if heard.is_empty() && confirmed.contains(&freeze.freeze_id) {
                    continue;
                }
                if self.confirm(freeze, &heard).await {
                    confirmed.insert(freeze.freeze_id.clone());
                    waiting.retain(|h| !heard.contains(h));
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = news.changed() => {}
                () = sleep(LISTEN) => {}
            }
        }
    }

    async fn confirm(&self, freeze: &FreezeRecord, heard: &[Heard]) -> bool {
        let runs = heard
            .iter()
            .map(|h| RunAcknowledgement { run_id: h.run_id.clone(), attempt: h.attempt })
            .collect();
        let request = AckContainmentRequest {
            freeze_id: freeze.freeze_id.clone(),
            replica: self.replica.clone(),
            confirmed_epoch: self.kernel.freezes.epoch(),
            runs,
        };
        match self.kernel.bridges.freezes.ack(&self.context_of(freeze), request).await {
            Ok(_) => true,
            Err(miss) => {
                tracing::warn!(freeze_id = freeze.freeze_id, ?miss, "a freeze is confirmed later");
                false
            }
        }
    }

    /// Stops or pauses what is in scope, and resumes what an ended freeze had paused.
    async fn carry_out(&self, stop: CancellationToken) {
        let (mut news, mut done) = (self.kernel.freezes.news(), Done::default());
        while !stop.is_cancelled() {
            self.pass(&mut done).await;
            tokio::select! {
                () = stop.cancelled() => return,
                _ = news.changed() => {}
                () = sleep(LOOK) => {}
            }
        }
    }

    async fn pass(&self, done: &mut Done) {
        let freezes = self.kernel.freezes.in_force(self.kernel.now());
        let holds = |id: &String| freezes.iter().any(|f| f.freeze_id == *id);
        done.carried_out.retain(holds);
        done.orders.retain(|id, _| holds(id));
        for freeze in freezes.iter().filter(|f| f.effect() == FreezeEffect::Pause) {
            done.pausing.entry(freeze.freeze_id.clone()).or_insert_with(|| freeze.clone());
        }
        for freeze in self.kernel.freezes.take_ended() {
            done.pausing.insert(freeze.freeze_id.clone(), freeze);
        }
        for freeze in &freezes {
            if done.carried_out.contains(&freeze.freeze_id) {
                continue;
            }
            let orders = done.orders.entry(freeze.freeze_id.clone()).or_default();
            if self.order(freeze, orders).await {
                done.carried_out.insert(freeze.freeze_id.clone());
            }
        }
        let ended: Vec<FreezeRecord> =
            done.pausing.values().filter(|f| !holds(&f.freeze_id)).cloned().collect();
        for freeze in ended {
            if self.resume(&freeze).await {
                done.pausing.remove(&freeze.freeze_id);
            }
        }
    }

    /// Stops or pauses every run of a freeze; true when none is left.
    async fn order(&self, freeze: &FreezeRecord, orders: &mut HashSet<(String, u32)>) -> bool {
        let Some(proof) = self.proof(freeze).await else { return false };
        let flying: HashSet<(&str, u32)> =
            proof.in_flight.iter().map(|step| (step.run_id.as_str(), step.attempt)).collect();
        let mut calls = Vec::new();
        for run in &proof.runs {
            let key = (run.run_id.clone(), run.attempt);
            if run.evidence() == ContainmentEvidence::Terminal || orders.contains(&key) {
                continue;
            }
            let drains = flying.contains(&(run.run_id.as_str(), run.attempt));
            calls.push(async move { self.order_one(freeze, run, drains).await.then_some(key) });
        }
        let given: Vec<Option<(String, u32)>> =
            futures::stream::iter(calls).buffer_unordered(PARALLEL).collect().await;
        let complete = given.iter().all(Option::is_some);
        orders.extend(given.into_iter().flatten());
        complete
    }

    async fn order_one(&self, freeze: &FreezeRecord, run: &ContainedRun, drains: bool) -> bool {
        let context = self.context_for(run);
        let ordered = match freeze.effect() {
            FreezeEffect::Pause => self.kernel.pause_frozen(&context, freeze, &run.run_id, run.attempt).await,
            FreezeEffect::Terminate | FreezeEffect::Unspecified => {
                self.kernel.stop_frozen(&context, freeze, &run.run_id, run.attempt, drains).await
            }
        };
        told(freeze, run, ordered)
    }

    /// Takes the pauses of an ended freeze away; true when none is left.
    async fn resume(&self, freeze: &FreezeRecord) -> bool {
        let Some(proof) = self.proof(freeze).await else { return false };
        let mut complete = true;
        for run in proof.runs.iter().filter(|run| run.evidence() != ContainmentEvidence::Terminal) {
            let context = self.context_for(run);
            let resumed = self.kernel.resume_frozen(&context, freeze, &run.run_id, run.attempt).await;
            complete &= told(freeze, run, resumed);
        }
        complete
    }

    async fn proof(&self, freeze: &FreezeRecord) -> Option<ContainmentProof> {
        let request = GetContainmentRequest { freeze_id: freeze.freeze_id.clone() };
        match self.kernel.bridges.freezes.containment(&self.context_of(freeze), request).await {
            Ok(answer) => answer.proof,
            // Controls forgot it, or it never was: nothing is to be done for it.
            Err(miss) if miss.is_not_found() => Some(ContainmentProof::default()),
            Err(miss) => {
                tracing::warn!(freeze_id = freeze.freeze_id, ?miss, "a freeze can't be read");
                None
            }
        }
    }

    /// A freeze of the mesh is read as its operator does.
    fn context_of(&self, freeze: &FreezeRecord) -> Context {
        let tenant = if freeze.tenant_id.is_empty() { PLATFORM_TENANT } else { &freeze.tenant_id };
        self.acting(tenant, "")
    }

    fn context_for(&self, run: &ContainedRun) -> Context {
        self.acting(&run.tenant_id, &run.run_id)
    }

    fn acting(&self, tenant: &str, run_id: &str) -> Context {
        let context = self.context.with(|call| {
            tenant.clone_into(&mut call.tenant_id);
            run_id.clone_into(&mut call.run_id);
            call.correlation_id = new_id();
        });
        context.until(Some(tokio::time::Instant::now() + PATIENCE))
    }
}

/// Whether an order is given, or has nothing to be given to any more.
fn told(freeze: &FreezeRecord, run: &ContainedRun, outcome: Outcome<()>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(fault) if fault.is(&reasons::RUN_NOT_FOUND) || fault.is(&reasons::RUN_ENDED) => true,
        Err(fault) => {
            tracing::warn!(freeze_id = freeze.freeze_id, run_id = run.run_id, %fault, "an order is tried again");
            false
        }
    }
}
