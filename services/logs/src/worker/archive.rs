//! Archives traces that were sealed long ago.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;

use crate::app::App;

/// How often traces are looked for.
const EVERY: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Archives what is older than `days` until `stop`.
pub async fn archive_traces(app: Arc<App>, days: u32, stop: CancellationToken) {
    loop {
        let work = app.archive_due(app.clock.now() - DAY * days);
        tokio::select! {
            () = stop.cancelled() => return,
            done = work => match done {
                Ok(0) => {}
                Ok(attempts) => tracing::info!(attempts, "traces were archived"),
                Err(fault) => tracing::warn!(%fault, "traces could not be archived; they are tried again"),
            },
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
