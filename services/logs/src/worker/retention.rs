//! Erases the payloads and salts of runs that ended long ago.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;

use crate::app::App;

/// How often runs are looked for.
const EVERY: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Erases what is older than `days` until `stop`.
pub async fn expire_payloads(app: Arc<App>, days: u32, stop: CancellationToken) {
    loop {
        match app.expire_payloads(app.clock.now() - DAY * days).await {
            Ok(0) => {}
            Ok(runs) => tracing::info!(runs, "payloads were erased at the end of their retention"),
            Err(fault) => tracing::warn!(%fault, "payloads could not be erased; they are tried again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
