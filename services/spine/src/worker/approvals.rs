//! Hears of approvals that were decided, and wakes the runs that wait for them. At least once, and harmless when twice:
//! a run is only moved when it still waits for that approval.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::EventEnvelope;
use contracts_policies::v1::ApprovalResolved;
use prost::Message;
use runspine_errors::{Fault, Kind};
use runspine_rpc::Context;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::outbox::Outboxes;
use crate::{bridges::Targets, kernel::Kernel};

/// Calls of this worker beside those of a completion.
pub const CALLS: &[&str] = &[
    "runspine.policies.v1.EventService/PullEvents",
    "runspine.policies.v1.EventService/AckEvents",
    "runspine.policies.v1.DecisionService/EvaluateRun",
];

/// The name under which the outbox keeps this worker's place.
const CONSUMER: &str = "spine.approvals";

const BATCH: u32 = 100;
const POLL: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(500);
/// What one event may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The worker of one replica.
pub struct Approvals {
    kernel: Arc<Kernel>,
    context: Context,
    outboxes: Outboxes,
}

impl Approvals {
    /// A worker that acts under `context`, its own.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>, context: Context, to: &Targets) -> Self {
        Self { kernel, context, outboxes: Outboxes::new(to, CONSUMER) }
    }

    /// Works until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let wait = match self.pass().await {
                Ok(0) => POLL,
                Ok(_) => continue,
                Err(fault) => {
                    tracing::warn!(%fault, "runs wait for approvals that were decided");
                    RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn pass(&self) -> Result<usize, Fault> {
        let unavailable = |miss: crate::bridges::Miss| miss.into_fault(&crate::reasons::DECISION_UNAVAILABLE);
        let events = self.outboxes.pull(&self.context, "policies", BATCH).await.map_err(unavailable)?;
        let Some(last) = events.last().map(|e| e.sequence) else { return Ok(0) };
        for event in events.iter().filter(|e| e.r#type == "policies.ApprovalResolved") {
            self.react(event).await?;
        }
        self.outboxes.ack(&self.context, "policies", last).await.map_err(unavailable)?;
        Ok(events.len())
    }

    /// What can't be done now is tried again; what is refused for good is told and left.
    async fn react(&self, event: &EventEnvelope) -> Result<(), Fault> {
        let Ok(ApprovalResolved { approval: Some(approval) }) = ApprovalResolved::decode(event.data.clone())
        else {
            tracing::error!(event_id = event.id, "an event of an approval can't be read");
            return Ok(());
        };
        let context = self
            .context
            .with(|call| {
                event.tenant_id.clone_into(&mut call.tenant_id);
                approval.run_id.clone_into(&mut call.run_id);
                event.correlation_id.clone_into(&mut call.correlation_id);
                event.id.clone_into(&mut call.causation_id);
            })
            .until(Some(Instant::now() + PATIENCE));
        match self.kernel.approval_resolved(&context, &approval).await {
            Err(fault) if is_outage(&fault) => Err(fault),
            Err(fault) => {
                tracing::error!(approval_id = approval.approval_id, %fault, "a decided approval moves no run");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

fn is_outage(fault: &Fault) -> bool {
    matches!(
        fault.reason().kind,
        Kind::Unavailable | Kind::Deadline | Kind::Aborted | Kind::Exhausted | Kind::Internal
    )
}
