//! The stream that tells every replica of the spine of a freeze: everything that is active at once, then each change,
//! and a heartbeat every second that confirms the epoch.

use std::time::Duration;

use contracts_controls::v1 as pb;
use runspine_controls_domain::freeze::FreezeState;
use runspine_errors::Fault;
use runspine_rpc::{status, timestamp};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::Status;

use super::{App, freezes::record};
use crate::{rpc::Epochs, store::views};

/// How long nothing may be said.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often the epoch is read, for what other processes commit.
const POLL: Duration = Duration::from_millis(50);
/// How long a reader may take for one message.
const PATIENCE: Duration = Duration::from_secs(10);

type Message = Result<pb::WatchEpochResponse, Status>;

/// Opens a stream.
pub fn open(app: App) -> Epochs {
    let (sender, messages) = mpsc::channel(16);
    tokio::spawn(run(app, sender));
    Epochs(messages)
}

async fn run(app: App, sender: mpsc::Sender<Message>) {
    if let Err(Some(fault)) = follow(&app, &sender).await {
        let _ = timeout(PATIENCE, sender.send(Err(status(fault)))).await;
    }
}

/// Ends with a fault to be told, or with none when the other side is gone.
async fn follow(app: &App, sender: &mpsc::Sender<Message>) -> Result<(), Option<Fault>> {
    let mut commits = app.db.outbox().subscribe();
    let mut known: Option<u64> = None;
    let mut spoken = Instant::now();
    loop {
        // Every freeze and every lift publishes an event, so a commit of this process wakes the wait.
        commits.mark_unchanged();
        let epoch = views::epoch(app.db.read()).await.map_err(|error| Some(error.into()))?;
        if known != Some(epoch) {
            let message = state(app, known.is_none()).await.map_err(Some)?;
            known = Some(message.epoch);
            say(sender, message).await?;
            spoken = Instant::now();
        } else if spoken.elapsed() >= HEARTBEAT {
            let kind = pb::WatchKind::Heartbeat as i32;
            let at = Some(timestamp(app.clock.now()));
            say(sender, pb::WatchEpochResponse { kind, epoch, freezes: Vec::new(), at }).await?;
            spoken = Instant::now();
        }
        tokio::select! {
            changed = commits.changed() => changed.map_err(|_| None)?,
            () = tokio::time::sleep(POLL) => {}
            () = sender.closed() => return Err(None),
        }
    }
}

async fn state(app: &App, first: bool) -> Result<pb::WatchEpochResponse, Fault> {
    let (epoch, rows) = views::watch(app.db.read()).await?;
    let now = app.clock.now();
    let mut freezes = Vec::with_capacity(rows.len());
    for row in &rows {
        if row.freeze()?.state(now) == FreezeState::Active {
            freezes.push(record(row, None, now)?);
        }
    }
    let kind = if first { pb::WatchKind::Snapshot } else { pb::WatchKind::Change };
    Ok(pb::WatchEpochResponse { kind: kind as i32, epoch, freezes, at: Some(timestamp(now)) })
}

async fn say(sender: &mpsc::Sender<Message>, message: pb::WatchEpochResponse) -> Result<(), Option<Fault>> {
    match timeout(PATIENCE, sender.send(Ok(message))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(None),
    }
}
