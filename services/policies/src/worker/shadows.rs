//! Looks at what is decided, for the shadows, until the service stops.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;

use crate::app::{App, sandbox::look::Memory};

/// How often the store is asked for shadows that other processes started or stopped.
const LOOK: Duration = Duration::from_secs(2);
/// Decisions that are stored in one commit.
const PART: usize = 256;

/// Works until `stop`.
pub(crate) async fn work(app: Arc<App>, stop: CancellationToken) {
    let Some(mut queue) = app.shadows.take_queue() else { return stop.cancelled().await };
    let (mut memory, mut seen) = (Memory::new(), Vec::with_capacity(PART));
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        let refresh = tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => true,
            () = app.shadows.news() => true,
            _ = queue.recv_many(&mut seen, PART) => false,
        };
        let done = if refresh {
            app.refresh_shadows().await
        } else {
            app.look_at_seen(&mut memory, std::mem::take(&mut seen)).await
        };
        if let Err(fault) = done {
            tracing::warn!(%fault, "shadows could not look at what was decided");
        }
    }
}
