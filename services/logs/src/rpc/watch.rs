//! The stream of `WatchRecords`: what is in the store, in order, then what comes.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use contracts_logs::v1::{self as pb, watch_records_response::Event};
use futures::Stream;
use runspine_db::Dialect;
use runspine_errors::Fault;
use runspine_logs_domain::reasons;
use runspine_rpc::status;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::Status;

use super::present;
use crate::{
    app::{App, watch::Watcher},
    store::{records, seals},
};

/// Records that are read at a time.
const PAGE: i64 = 256;
/// How long nothing may be said.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a reader may take for one message.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the store is asked, for what other processes commit.
const POLL: Duration = Duration::from_millis(100);

/// The stream; the work behind it ends when it is dropped.
pub struct Records {
    messages: mpsc::Receiver<Result<pb::WatchRecordsResponse, Status>>,
}

impl Stream for Records {
    type Item = Result<pb::WatchRecordsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_recv(cx)
    }
}

struct Reader {
    app: Arc<App>,
    watcher: Watcher,
    trace_key: i64,
    /// The last position that was sent.
    sent: u64,
    messages: mpsc::Sender<Result<pb::WatchRecordsResponse, Status>>,
}

/// Why a reader stops.
enum Stop {
    /// The other side is gone, or the end was said.
    Done,
    /// Something is said before the stream closes.
    Refused(Fault),
}

/// Opens a stream.
pub async fn open(
    app: Arc<App>,
    tenant_id: &str,
    request: &pb::WatchRecordsRequest,
) -> Result<Records, Fault> {
    let trace = app.find_trace(tenant_id, &request.run_id, request.attempt, 0).await?;
    let watcher = app.watch.watch(tenant_id, trace.trace_key)?;
    let (sender, messages) = mpsc::channel(64);
    let sent = request.from_position.max(1) - 1;
    let reader = Reader { app, watcher, trace_key: trace.trace_key, sent, messages: sender };
    tokio::spawn(reader.run());
    Ok(Records { messages })
}

impl Reader {
    async fn run(mut self) {
        if let Err(Stop::Refused(fault)) = self.follow().await {
            let _ = timeout(PATIENCE, self.messages.send(Err(status(fault)))).await;
        }
    }

    async fn follow(&mut self) -> Result<(), Stop> {
        let news = self.watcher.news();
        let mut spoken = Instant::now();
        loop {
            // Registered before reading, so that a commit in between wakes it.
            let notified = news.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.drain().await? {
                spoken = Instant::now();
            }
            self.end().await?;
            let quiet = HEARTBEAT.saturating_sub(spoken.elapsed());
            let wait = if self.app.db.dialect() == Dialect::Postgres { POLL.min(quiet) } else { quiet };
            tokio::select! {
                () = &mut notified => {}
                () = tokio::time::sleep(wait) => {}
                () = self.messages.closed() => return Err(Stop::Done),
            }
            if spoken.elapsed() >= HEARTBEAT {
                self.say(Event::Heartbeat(pb::WatchHeartbeat { head_position: self.sent })).await?;
                spoken = Instant::now();
            }
        }
    }

    /// Sends what the store has; says whether there was anything.
    async fn drain(&mut self) -> Result<bool, Stop> {
        let mut any = false;
        loop {
            let page = records::page(self.app.db.read(), self.trace_key, self.sent, PAGE).await;
            let page = page.map_err(|error| Stop::Refused(error.into()))?;
            let last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
            for row in page {
                let position = row.position;
                let record = present::record(row, false, false).map_err(Stop::Refused)?;
                self.say(Event::Record(record)).await?;
                (self.sent, any) = (position, true);
            }
            if last {
                return Ok(any);
            }
        }
    }

    /// Says END once everything before the seal was sent.
    async fn end(&mut self) -> Result<(), Stop> {
        let seal = seals::read(self.app.db.read(), self.trace_key).await;
        let Some(seal) = seal.map_err(|error| Stop::Refused(error.into()))? else { return Ok(()) };
        let body: pb::TraceSeal = present::decode(&seal.seal).map_err(Stop::Refused)?;
        // Records that were committed between the last look and the seal.
        self.drain().await?;
        let end =
            pb::WatchEnd { seal_digest: present::raw(seal.seal_digest), record_count: body.record_count };
        self.say(Event::End(end)).await?;
        Err(Stop::Done)
    }

    async fn say(&self, event: Event) -> Result<(), Stop> {
        let message = Ok(pb::WatchRecordsResponse { event: Some(event) });
        match timeout(PATIENCE, self.messages.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Stop::Done),
            Err(_) => {
                let next = self.sent + 1;
                Err(Stop::Refused(
                    Fault::new(
                        &reasons::SLOW_CONSUMER,
                        format!("no message was taken for 60 s; resume at {next}"),
                    )
                    .with("resume_at", next),
                ))
            }
        }
    }
}
