//! Tells controls how providers, models and tools were found to work. What can't be told in time is dropped: a breaker
//! lives by what is happening now.

use std::{sync::Arc, time::Duration};

use contracts_controls::v1::{BreakerKind, ReportOutcomeRequest};
use runspine_rpc::Context;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    kernel::{Kernel, Waiting},
    metrics,
};

/// Calls that the worker makes.
pub const CALLS: &[&str] = &["runspine.controls.v1.BreakerService/ReportOutcome"];

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
    futures::future::join_all(lanes).await;
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
    for last in 1..=TRIES {
        let context = context
            .with(|call| waiting.tenant_id.clone_into(&mut call.tenant_id))
            .until(Some(Instant::now() + PATIENCE));
        match kernel.bridges.breakers.report(&context, request.clone()).await {
            Ok(_) => return,
            Err(miss) if miss.is_refusal() || last == TRIES => {
                metrics::UNREPORTED.increment(&[]);
                tracing::warn!(target_id = request.target_id, ?miss, "a breaker was not told of uses");
                return;
            }
            Err(_) => sleep(RETRY).await,
        }
    }
}
