//! Tells controls how providers, models and tools were found to work, and how steps of agents ended. What can't be told in
//! time is dropped: a breaker and a guardrail live by what is happening now.

use std::{sync::Arc, time::Duration};

use contracts_controls::v1::{BreakerKind, ReportOutcomeRequest, ReportStepsRequest};
use runspine_rpc::Context;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    bridges::Miss,
    kernel::{Ended, Kernel, Waiting},
    metrics,
};

/// Calls that the worker makes.
pub const CALLS: &[&str] = &[
    "runspine.controls.v1.BreakerService/ReportOutcome",
    "runspine.controls.v1.GuardrailService/ReportSteps",
];

/// Pause after a round: what comes meanwhile is told together.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause before a report is made again.
const RETRY: Duration = Duration::from_millis(200);
/// How often a report is made.
const TRIES: u32 = 5;
/// What one report may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Reports until `stop`, and what is left once more.
pub async fn report(kernel: Arc<Kernel>, context: Context, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = kernel.uses.noted() => {}
        }
        tell_all(&kernel, &context).await;
        sleep(PAUSE).await;
    }
    tell_all(&kernel, &context).await;
}

/// Targets beside each other, the reports of each in their order.
async fn tell_all(kernel: &Kernel, context: &Context) {
    let lanes = kernel.uses.take().into_iter().map(|reports| async move {
        for waiting in reports {
            tell(kernel, context, waiting).await;
        }
    });
    let ends = kernel.uses.take_ended().into_iter().map(|ended| tell_ended(kernel, context, ended));
    tokio::join!(futures::future::join_all(lanes), futures::future::join_all(ends));
}

async fn tell(kernel: &Kernel, context: &Context, waiting: Waiting) {
    let samples = u32::try_from(waiting.holders.len()).unwrap_or(u32::MAX);
    let request = ReportOutcomeRequest {
        report_id: waiting.id,
        kind: BreakerKind::Fault.into(),
        target_type: waiting.target.into(),
        target_id: waiting.target_id,
        result: waiting.result.into(),
        drift_permille: None,
        sample_count: samples,
        holders: waiting.holders,
    };
    insist(kernel, context, &waiting.tenant_id, &Report::Uses(request)).await;
}

async fn tell_ended(kernel: &Kernel, context: &Context, ended: Ended) {
    let request = ReportStepsRequest {
        report_id: ended.id,
        agent_id: ended.agent_id,
        steps: ended.steps,
        failed: ended.failed,
    };
    insist(kernel, context, &ended.tenant_id, &Report::Ends(request)).await;
}

/// What controls is told.
enum Report {
    /// How uses of a target went.
    Uses(ReportOutcomeRequest),
    /// How steps of an agent ended.
    Ends(ReportStepsRequest),
}

impl Report {
    fn subject(&self) -> &str {
        match self {
            Self::Uses(request) => &request.target_id,
            Self::Ends(request) => &request.agent_id,
        }
    }

    async fn make(&self, kernel: &Kernel, context: &Context) -> Result<(), Miss> {
        let bridge = &kernel.bridges.breakers;
        match self {
            Self::Uses(request) => bridge.report(context, request.clone()).await.map(|_| ()),
            Self::Ends(request) => bridge.report_steps(context, request.clone()).await.map(|_| ()),
        }
    }
}

/// Makes a report until it is heard, or is not to be heard any more.
async fn insist(kernel: &Kernel, context: &Context, tenant: &str, report: &Report) {
    for last in 1..=TRIES {
        let context = context
            .with(|call| tenant.clone_into(&mut call.tenant_id))
            .until(Some(Instant::now() + PATIENCE));
        match report.make(kernel, &context).await {
            Ok(()) => return,
            Err(miss) if miss.is_refusal() || last == TRIES => {
                metrics::UNREPORTED.increment(&[]);
                tracing::warn!(subject = report.subject(), ?miss, "controls was not told how things went");
                return;
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}
