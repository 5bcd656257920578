//! Builds snapshots that a change of the mesh's rules left behind, and archives those that nobody needs any more. Two of
//! these at once build the same bytes, which are stored once.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::app::App;

/// How often it is looked for snapshots that have become old enough.
const OLD: Duration = Duration::from_secs(3_600);

/// Works until it is stopped.
pub(crate) async fn run(app: Arc<App>, every: Duration, stop: CancellationToken) {
    let (mut builds, mut archives) = (tokio::time::interval(every), tokio::time::interval(OLD));
    loop {
        let done = tokio::select! {
            () = stop.cancelled() => return,
            _ = builds.tick() => app.follow_mesh().await,
            _ = archives.tick() => app.archive_old_snapshots().await,
        };
        if let Err(fault) = done {
            tracing::warn!(%fault, "snapshots wait to be built or archived");
        }
    }
}
