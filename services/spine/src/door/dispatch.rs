//! Dispatch records: durable before the answer for what may write, within a second for reads.

use std::{sync::Arc, time::Duration};

use contracts_common::{
    common::v1::{Actor, ActorType, CallContext},
    contract::v1::Commit,
};
use contracts_logs::v1::{
    AppendDispatchesRequest, DispatchRecord, record_service_client::RecordServiceClient,
};
use futures::future::BoxFuture;
use runspine_boot::CancellationToken;
use runspine_errors::{Fault, Kind};
use runspine_rpc::{Context, Mesh, Operation, Registry, RegistryError, Transport, kind_of};
use runspine_types::PLATFORM_TENANT;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::{Instant, timeout},
};
use tonic::Status;

use super::reasons;

/// One record.
pub(super) type Record = DispatchRecord;

const APPEND: &str = "runspine.logs.v1.RecordService/AppendDispatches";
/// Recorded by their trace record, so only counted here.
const COUNTED: [&str; 3] = [
    "runspine.spine.v1.RunService/AuthorizeStep",
    "runspine.spine.v1.RunService/RecordStep",
    "runspine.spine.v1.RunService/GovernRun",
];
/// Records that may wait; more make their callers wait, and none is dropped.
const WAITING: usize = 4_096;
/// The most that `logs` takes at once.
const AT_ONCE: usize = 256;
/// How long records of reads are gathered when nothing urgent waits.
const GATHER: Duration = Duration::from_millis(200);
/// How long an answer waits for its record.
const PATIENCE: Duration = Duration::from_secs(3);
const APPEND_WITHIN: Duration = Duration::from_secs(2);
const RETRY_EVERY: Duration = Duration::from_millis(250);

/// How an operation is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recording {
    /// Only counted.
    Counted,
    /// Durable within a second.
    Soon,
    /// Durable before the answer.
    Before,
}

impl Recording {
    pub fn of(operation: &Operation) -> Self {
        match operation.commit {
            _ if COUNTED.contains(&operation.name.as_str()) => Self::Counted,
            Commit::None => Self::Soon,
            Commit::Owns | Commit::Unspecified => Self::Before,
        }
    }
}

/// Where records become durable.
pub trait DispatchSink: Send + Sync + 'static {
    /// Makes all of them durable, or none. Called again with the same records after a failure.
    fn append(&self, records: Vec<DispatchRecord>) -> BoxFuture<'_, Result<(), Status>>;
}

/// `logs`, by its record service.
pub struct LogsSink {
    client: RecordServiceClient<Transport>,
    context: Context,
}

impl LogsSink {
    /// Over the way to `logs` in `mesh`; `None` when there is none.
    ///
    /// # Errors
    /// When the contracts know no `AppendDispatches`.
    pub fn new(mesh: &Mesh, registry: &Registry) -> Result<Option<Self>, RegistryError> {
        let operation = registry.worker("door", &[APPEND])?;
        let Some(way) = mesh.get("logs") else { return Ok(None) };
        let actor = Actor { r#type: ActorType::System as i32, id: "door".to_owned() };
        let call =
            CallContext { tenant_id: PLATFORM_TENANT.to_owned(), actor: Some(actor), ..Default::default() };
        let context = Context::serving(&operation, call, None);
        Ok(Some(Self { client: RecordServiceClient::new(way.clone()), context }))
    }
}

impl DispatchSink for LogsSink {
    fn append(&self, dispatches: Vec<DispatchRecord>) -> BoxFuture<'_, Result<(), Status>> {
        Box::pin(async move {
            let context = self.context.until(Some(Instant::now() + APPEND_WITHIN));
            let request = context.request(AppendDispatchesRequest { dispatches });
            self.client.clone().append_dispatches(request).await.map(|_| ())
        })
    }
}

struct Entry {
    record: DispatchRecord,
    /// Told how it went, when somebody waits.
    done: Option<oneshot::Sender<Result<(), Fault>>>,
}

/// Gathers records and has them written, many at once.
pub struct Dispatches {
    queue: mpsc::Sender<Entry>,
    waiting: Mutex<mpsc::Receiver<Entry>>,
    sink: Arc<dyn DispatchSink>,
}

impl Dispatches {
    pub(super) fn new(sink: Arc<dyn DispatchSink>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        Self { queue, waiting: Mutex::new(waiting), sink }
    }

    /// Returns once the record is durable.
    pub(super) async fn durably(&self, record: DispatchRecord) -> Result<(), Fault> {
        let (done, told) = oneshot::channel();
        let written = async {
            self.queue.send(Entry { record, done: Some(done) }).await.map_err(|_| not_recorded())?;
            told.await.unwrap_or_else(|_| Err(not_recorded()))
        };
        timeout(PATIENCE, written).await.unwrap_or_else(|_| Err(not_recorded()))
    }

    /// Hands the record over; it is durable within a second unless `logs` is down, and then as soon as it is back.
    pub(super) async fn soon(&self, record: DispatchRecord) {
        if self.queue.send(Entry { record, done: None }).await.is_err() {
            tracing::error!("the dispatch writer is gone: a read was not recorded");
        }
    }

    /// Writes until stopped, and then what is still waiting.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut waiting = self.waiting.lock().await;
        loop {
            let first = tokio::select! {
                biased;
                entry = waiting.recv() => entry,
                () = stop.cancelled() => None,
            };
            let Some(first) = first else { break };
            let batch = gather(first, &mut waiting, &stop).await;
            self.write(batch, &stop).await;
        }
        while let Ok(first) = waiting.try_recv() {
            let batch = gather(first, &mut waiting, &stop).await;
            self.write(batch, &stop).await;
        }
    }

    /// A batch that fails is tried until it succeeds; who waits for it loses patience before, or is told in the end:
    /// a `logs` that starts anew costs its callers a moment and no error. When `logs` refuses it for good, each record
    /// is tried alone, so that one bad record does not hold up the rest.
    async fn write(&self, batch: Vec<Entry>, stop: &CancellationToken) {
        let records: Vec<_> = batch.iter().map(|entry| entry.record.clone()).collect();
        let mut outcome = self.sink.append(records.clone()).await;
        while let Err(status) = outcome.as_ref() {
            if for_good(status) {
                break;
            }
            tracing::warn!(records = records.len(), %status, "dispatch records could not be written");
            if stop.run_until_cancelled(tokio::time::sleep(RETRY_EVERY)).await.is_none() {
                tracing::error!(?records, "stopped with dispatch records that could not be written");
                break;
            }
            outcome = self.sink.append(records.clone()).await;
        }
        match outcome {
            Err(status) if for_good(&status) && batch.len() > 1 => {
                for entry in batch {
                    Box::pin(self.write(vec![entry], stop)).await;
                }
            }
            outcome => tell(batch, &records, outcome),
        }
    }
}

/// Tells everybody who still waits.
fn tell(batch: Vec<Entry>, records: &[DispatchRecord], outcome: Result<(), Status>) {
    if let Err(status) = &outcome
        && for_good(status)
    {
        tracing::error!(?records, %status, "a dispatch record was refused for good: this line is all of it");
    }
    for done in batch.into_iter().filter_map(|entry| entry.done) {
        let told = outcome.clone().map_err(|status| not_recorded().caused_by(status));
        // The caller may have gone, its record stays.
        let _ = done.send(told);
    }
}

/// Whether a repeat can't help.
fn for_good(status: &Status) -> bool {
    matches!(
        kind_of(status.code()),
        Kind::Invalid
            | Kind::Conflict
            | Kind::Precondition
            | Kind::Denied
            | Kind::Unauthenticated
            | Kind::Unknown
    )
}

/// What is waiting now; reads alone are gathered for a moment first.
async fn gather(first: Entry, waiting: &mut mpsc::Receiver<Entry>, stop: &CancellationToken) -> Vec<Entry> {
    let mut urgent = first.done.is_some();
    let mut batch = vec![first];
    let until = Instant::now() + GATHER;
    while batch.len() < AT_ONCE {
        let next = match waiting.try_recv() {
            Ok(entry) => Some(entry),
            Err(_) if urgent || stop.is_cancelled() => None,
            Err(_) => tokio::select! {
                entry = waiting.recv() => entry,
                () = tokio::time::sleep_until(until) => None,
                () = stop.cancelled() => None,
            },
        };
        let Some(entry) = next else { break };
        urgent |= entry.done.is_some();
        batch.push(entry);
    }
    batch
}

fn not_recorded() -> Fault {
    let text =
        "the call may have been served, but its record is not durable: repeat it with the same request_id";
    Fault::new(&reasons::DISPATCH_NOT_RECORDED, text)
}
