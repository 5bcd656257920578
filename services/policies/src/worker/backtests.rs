//! Takes back-tests that are due, one at a time, until the service stops.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;

use crate::app::App;

/// How often the store is asked for what other processes queued, or left behind.
const LOOK: Duration = Duration::from_secs(1);

/// Works until `stop`.
pub(crate) async fn work(app: Arc<App>, stop: CancellationToken) {
    let mut moved = app.backtests.subscribe();
    while !stop.is_cancelled() {
        moved.mark_unchanged();
        match app.claim_backtest().await {
            Ok(Some(row)) => {
                if let Err(fault) = app.work_on(&row, &stop).await {
                    tracing::warn!(%fault, backtest = row.backtest_id, "a back-test broke off; it is tried again");
                }
                continue;
            }
            Ok(None) => {}
            Err(fault) => tracing::warn!(%fault, "back-tests could not be looked for"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
            _ = moved.changed() => {}
        }
    }
}
