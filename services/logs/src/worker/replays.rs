//! Ends replays whose time is over.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;

use crate::app::App;

/// How often they are looked for.
const EVERY: Duration = Duration::from_secs(5);

/// Ends replays that nobody ended, until `stop`.
pub async fn expire_replays(app: Arc<App>, stop: CancellationToken) {
    loop {
        match app.expire_replays().await {
            Ok(0) => {}
            Ok(replays) => tracing::info!(replays, "replays were ended by their timeout"),
            Err(fault) => tracing::warn!(%fault, "replays could not be ended; they are tried again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
