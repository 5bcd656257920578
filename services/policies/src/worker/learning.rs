//! Takes up lessons whose time came, and ends proposals that nobody touched. Two of these at once do each once, because
//! both are changed only if they still are what was read.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::app::App;

/// Works until it is stopped.
pub(crate) async fn run(app: Arc<App>, every: Duration, stop: CancellationToken) {
    loop {
        if let Err(fault) = app.reactivate_due_lessons().await {
            tracing::warn!(%fault, "lessons wait to be taken up");
        }
        if let Err(fault) = app.expire_due_proposals().await {
            tracing::warn!(%fault, "proposals wait for their end");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}
