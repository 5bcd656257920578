//! The stream of what happens to approvals: the history from any place on, then each change as it is stored.

use std::{sync::Arc, time::Duration};

use contracts_policies::v1 as pb;
use runspine_errors::Fault;
use runspine_rpc::{status, timestamp};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::Status;

use super::present;
use crate::{
    app::App,
    store::approvals::{self, TransitionRow},
};

/// How long nothing may be said.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often the history is read, for what other processes commit.
const POLL: Duration = Duration::from_millis(250);
/// How long a reader may take for one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// Changes that are read at a time.
const PAGE: i64 = 100;

type Message = Result<pb::WatchApprovalsResponse, Status>;

/// Follows the history for one reader until it is gone.
pub(crate) async fn run(
    app: Arc<App>,
    tenant: String,
    wanted: pb::WatchApprovalsRequest,
    sender: mpsc::Sender<Message>,
) {
    if let Err(Some(fault)) = follow(&app, &tenant, &wanted, &sender).await {
        let _ = timeout(PATIENCE, sender.send(Err(status(fault)))).await;
    }
}

/// Ends with a fault to be told, or with none when the other side is gone.
async fn follow(
    app: &App,
    tenant: &str,
    wanted: &pb::WatchApprovalsRequest,
    sender: &mpsc::Sender<Message>,
) -> Result<(), Option<Fault>> {
    let mut commits = app.db.outbox().subscribe();
    let mut last = match wanted.from_event {
        Some(from) => i64::try_from(from).unwrap_or(i64::MAX),
        None => approvals::last_change(app.db.read()).await.map_err(|e| Some(e.into()))?,
    };
    let mut spoken = Instant::now();
    loop {
        // Every change publishes an event or is committed with one, so a commit of this process wakes the wait.
        commits.mark_unchanged();
        let rows = approvals::changes(app.db.read(), tenant, &wanted.run_id, last, PAGE).await;
        let rows = rows.map_err(|e| Some(e.into()))?;
        let more = !rows.is_empty();
        for row in rows {
            last = row.event;
            if wanted.states.is_empty() || wanted.states.contains(&row.to_state) {
                say(sender, message(app, tenant, row).await.map_err(Some)?).await?;
                spoken = Instant::now();
            }
        }
        if more {
            continue;
        }
        if spoken.elapsed() >= HEARTBEAT {
            let event = u64::try_from(last).unwrap_or(0);
            let at = Some(timestamp(app.now()));
            say(sender, pb::WatchApprovalsResponse { event, at, ..Default::default() }).await?;
            spoken = Instant::now();
        }
        tokio::select! {
            changed = commits.changed() => changed.map_err(|_| None)?,
            () = tokio::time::sleep(POLL) => {}
            () = sender.closed() => return Err(None),
        }
    }
}

async fn message(app: &App, tenant: &str, row: TransitionRow) -> Result<pb::WatchApprovalsResponse, Fault> {
    let approval = approvals::read(app.db.read(), tenant, &row.approval_id).await?;
    Ok(pb::WatchApprovalsResponse {
        event: u64::try_from(row.event).unwrap_or(0),
        from: row.from_state,
        to: row.to_state,
        approval: approval.map(|a| present(&a, app.now())),
        reason: row.reason,
        at: Some(timestamp(row.at)),
    })
}

async fn say(
    sender: &mpsc::Sender<Message>,
    message: pb::WatchApprovalsResponse,
) -> Result<(), Option<Fault>> {
    match timeout(PATIENCE, sender.send(Ok(message))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(None),
    }
}
