//! Makes events of what time does to approvals. Whoever reads one sees it whether or not this ran; two of these at once
//! do each change once, because a change is stored only if the approval still is what was read.

use std::{sync::Arc, time::Duration};

use runspine_db::Db;
use runspine_errors::Fault;
use runspine_policies_domain::reasons;
use runspine_types::Micros;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{
        App,
        approval::change::{by_time, store},
    },
    store::approvals,
};

/// Approvals of one pass.
const MOST: i64 = 256;

/// Works until it is stopped.
pub(crate) async fn run(app: Arc<App>, every: Duration, stop: CancellationToken) {
    loop {
        if let Err(fault) = pass(&app.db, app.now()).await {
            tracing::warn!(%fault, "approvals wait for their escalation or end");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// One pass: how many approvals it changed.
pub(crate) async fn pass(db: &Db, now: Micros) -> Result<usize, Fault> {
    let due = approvals::due(db.read(), now, MOST).await?;
    let mut changed = 0;
    for mut row in due {
        let changes = by_time(&mut row, now)?;
        let write =
            db.write("policies.approvals", move |tx| Box::pin(async move { store(tx, changes).await }));
        match write.await {
            Ok(()) => changed += 1,
            // Somebody else changed it in between: what is due then is found again.
            Err(fault) if fault.is(&reasons::VERSION_CONFLICT) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(changed)
}
