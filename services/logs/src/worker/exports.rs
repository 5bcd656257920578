//! Makes exports, and forgets their contents when they expire.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;

use crate::app::App;

/// How often somebody looks for what a process left undone.
const EVERY: Duration = Duration::from_secs(5);

/// Makes exports until `stop`.
pub async fn make_exports(app: Arc<App>, stop: CancellationToken) {
    loop {
        app.make_exports().await;
        if let Err(fault) = app.forget_exports().await {
            tracing::warn!(%fault, "expired contents could not be forgotten; they are tried again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
