//! Signs what is due, again and again.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;

use crate::app::audit::notary::Notary;

/// How often it is looked whether a checkpoint is due.
const EVERY: Duration = Duration::from_secs(1);

/// Makes checkpoints until `stop`.
pub async fn sign_checkpoints(notary: Arc<Notary>, stop: CancellationToken) {
    loop {
        if let Err(fault) = notary.sweep().await {
            tracing::warn!(%fault, "not every checkpoint that is due could be made; they are tried again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
