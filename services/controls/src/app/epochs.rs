//! The stream that tells every replica of the spine of a freeze: everything that is active at once, then each change,
//! and a heartbeat every second that confirms the epoch.

use std::{
    pin::Pin,
    task::{Context as Poller, Poll},
    time::Duration,
};

use contracts_controls::v1 as pb;
use futures::Stream;
use runspine_controls_domain::freeze::FreezeState;
use runspine_errors::Fault;
use runspine_rpc::{status, timestamp};
use runspine_types::Micros;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::Status;

use super::{App, freezes::record, watchers::Watch};
use crate::store::{bypasses as store, views};

/// How long nothing may be said.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often the epoch is read, for what other processes commit.
const POLL: Duration = Duration::from_millis(50);
/// How long an ended freeze is told to those who begin to watch: no pause lasts longer.
const ENDED_MS: i64 = 86_400_000;
/// How long a reader may take for one message.
const PATIENCE: Duration = Duration::from_secs(10);

type Message = Result<pb::WatchEpochResponse, Status>;

/// The stream of the epoch; the work behind it ends when it is dropped.
pub struct Epochs(pub(super) mpsc::Receiver<Message>);

impl Stream for Epochs {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Poller<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

/// Opens a stream.
pub fn open(app: App, replica: &str) -> Epochs {
    let watch = app.watchers.enter(replica);
    begin(app, Some(watch))
}

/// A stream that nobody is to wait for: no freeze has to be told to who follows it.
pub fn unnamed(app: App) -> Epochs {
    begin(app, None)
}

fn begin(app: App, watch: Option<Watch>) -> Epochs {
    let (sender, messages) = mpsc::channel(16);
    tokio::spawn(async move {
        run(app, sender).await;
        drop(watch);
    });
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
            let beat = pb::WatchEpochResponse { kind, epoch, at, ..pb::WatchEpochResponse::default() };
            say(sender, beat).await?;
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
    let ended = if first { ended(app, now).await? } else { Vec::new() };
    let at = Some(timestamp(now));
    Ok(pb::WatchEpochResponse {
        kind: kind as i32,
        epoch,
        freezes,
        at,
        ended,
        bypasses: bypasses(app, now).await?,
    })
}

/// Every bypass that holds. It is read behind the epoch: one that is newer comes again with its own.
async fn bypasses(app: &App, now: Micros) -> Result<Vec<pb::Bypass>, Fault> {
    let rows = store::active(app.db.read(), now).await?;
    let keys: Vec<i64> = rows.iter().map(|row| row.bypass_key).collect();
    let deeds = store::deeds_of(app.db.read(), &keys).await?;
    rows.iter().map(|row| super::bypasses::present(row, &deeds, now)).collect()
}

/// Freezes that ended while nobody watched may have left runs paused.
async fn ended(app: &App, now: Micros) -> Result<Vec<pb::FreezeRecord>, Fault> {
    let rows = views::ended_pauses(app.db.read(), now.plus_millis(-ENDED_MS), now).await?;
    rows.iter().map(|row| record(row, None, now)).collect()
}

async fn say(sender: &mpsc::Sender<Message>, message: pb::WatchEpochResponse) -> Result<(), Option<Fault>> {
    match timeout(PATIENCE, sender.send(Ok(message))).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(None),
    }
}
