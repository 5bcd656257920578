//! A key that another process made active, or revoked, is followed here.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;

use crate::app::App;

/// How often the store is asked.
const EVERY: Duration = Duration::from_secs(5);

/// Follows the keys until `stop`.
pub async fn follow_keys(app: Arc<App>, stop: CancellationToken) {
    loop {
        if let Err(fault) = app.follow_keys().await {
            tracing::warn!(%fault, "the keys could not be followed; it is tried again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
