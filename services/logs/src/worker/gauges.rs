//! Keeps what is read from the store for metrics fresh.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;

use crate::app::{App, gauges::sample_metrics};

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(5);

/// Looks again and again until `stop`.
pub async fn sample(app: Arc<App>, stop: CancellationToken) {
    loop {
        if let Err(fault) = sample_metrics(&app.db, app.clock.now()).await {
            tracing::warn!(%fault, "what metrics show of the store is old");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
