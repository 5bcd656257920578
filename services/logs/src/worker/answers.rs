//! Kept answers serve repeats for a day; then they are forgotten.

use std::{sync::Arc, time::Duration};

use runspine_boot::CancellationToken;
use runspine_db::Db;
use runspine_errors::Fault;
use runspine_types::Clock;

/// How long a call can be repeated and gets its first answer.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How often old answers are looked for.
const EVERY: Duration = Duration::from_secs(10 * 60);
/// Answers that are forgotten at once, so that nobody waits for it.
const PART: u32 = 1_000;

/// Forgets old answers until `stop`.
pub async fn forget_answers(db: Db, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        if let Err(fault) = forget(&db, clock.as_ref()).await {
            tracing::warn!(%fault, "old answers could not be forgotten; they are tried again");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Forgets everything older than a day, part by part.
async fn forget(db: &Db, clock: &dyn Clock) -> Result<(), Fault> {
    let before = clock.now() - KEPT;
    loop {
        let gone = db
            .write("forget_answers", move |tx| {
                Box::pin(async move { Ok(tx.purge_answers(before, PART).await?) })
            })
            .await?;
        if gone < u64::from(PART) {
            return Ok(());
        }
    }
}
