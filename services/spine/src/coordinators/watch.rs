//! The events of a run in ledger order, from any sequence number, then live.

use contracts_common::common::v1::RunStatus;
use contracts_logs::v1::{
    LedgerEntryView, LedgerFilter, LedgerOrder, ListEntriesRequest, WatchEntriesRequest,
    ledger_service_client::LedgerServiceClient, watch_entries_response::Item,
};
use contracts_spine::v1::{
    RunEvent, WatchEnd, WatchHeartbeat, WatchRunRequest, WatchRunResponse, watch_run_response::Body,
};
use runspine_errors::Outcome;
use runspine_rpc::{Context, Transport};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::kernel::{Kernel, validate};

/// What a watcher gets.
pub type Watching = ReceiverStream<Result<WatchRunResponse, Status>>;

const BUFFER: usize = 64;

impl Kernel {
    /// Watches a run.
    ///
    /// # Errors
    /// When the run is not known.
    pub async fn watch_run(
        &self,
        context: &Context,
        request: WatchRunRequest,
        logs: &Transport,
    ) -> Outcome<Watching> {
        validate::run_id(&request.run_id)?;
        let context = context.for_run(&request.run_id);
        self.attempt(&context, &request.run_id, 0).await?;
        let (send, receive) = mpsc::channel(BUFFER);
        let bridges = self.bridges.clone();
        let mut client = LedgerServiceClient::new(logs.clone());
        tokio::spawn(async move {
            let watch = WatchEntriesRequest {
                from_seq: request.from_seq.max(1),
                run_id: request.run_id.clone(),
                ..WatchEntriesRequest::default()
            };
            let mut entries = match client.watch_entries(context.request(watch)).await {
                Ok(entries) => entries.into_inner(),
                Err(status) => {
                    let _ = send.send(Err(status)).await;
                    return;
                }
            };
            loop {
                let item = match entries.message().await {
                    Ok(Some(next)) => next.item,
                    Ok(None) => return,
                    Err(status) => {
                        let _ = send.send(Err(status)).await;
                        return;
                    }
                };
                let Some((body, end)) = item.and_then(said) else { continue };
                if send.send(Ok(WatchRunResponse { body: Some(body) })).await.is_err() {
                    return;
                }
                if let Some(last_seq) = end {
                    let status = status_of(&bridges, &context, &request.run_id).await;
                    // Another attempt follows, or is there already; only the end of the run ends the watch.
                    if status.is_some_and(|s| !is_over(s)) {
                        continue;
                    }
                    let end = WatchEnd { status: status.unwrap_or(RunStatus::Unspecified).into(), last_seq };
                    let _ = send.send(Ok(WatchRunResponse { body: Some(Body::End(end)) })).await;
                    return;
                }
            }
        });
        Ok(ReceiverStream::new(receive))
    }

    /// Entries of a run that stand on the ledger now, for those who do not wait.
    ///
    /// # Errors
    /// When the ledger can't be read.
    pub async fn run_entries(&self, context: &Context, run_id: &str) -> Outcome<Vec<RunEvent>> {
        let request = ListEntriesRequest {
            filter: Some(LedgerFilter { run_id: run_id.to_owned(), ..LedgerFilter::default() }),
            order: LedgerOrder::SeqAsc.into(),
            page_size: 500,
            page_token: String::new(),
        };
        let page = self.bridges.ledger.entries(context, request).await;
        let page = page.map_err(|miss| miss.into_fault(&crate::reasons::SOURCES_INCOMPLETE))?;
        Ok(page.entries.iter().filter_map(event).collect())
    }
}

async fn status_of(bridges: &crate::bridges::Bridges, context: &Context, run_id: &str) -> Option<RunStatus> {
    let get = contracts_activity::v1::GetRunStateRequest {
        run_id: run_id.to_owned(),
        attempt: 0,
        with_start_input: false,
    };
    bridges.runs.run_state(context, get).await.ok()?.state.map(|s| s.status())
}

/// Whether a run whose latest attempt has this status is over.
fn is_over(status: RunStatus) -> bool {
    use RunStatus::{Cancelled, Failed, FailedPolicy, Succeeded};
    matches!(status, Succeeded | Failed | FailedPolicy | Cancelled)
}

/// What an item of the ledger's stream says to a watcher, and whether it is a seal.
fn said(item: Item) -> Option<(Body, Option<u64>)> {
    match item {
        Item::Entry(entry) => {
            let event = event(&entry)?;
            let end = (event.event_type == "logs.TraceSealed").then_some(event.seq);
            Some((Body::Event(event), end))
        }
        Item::Heartbeat(beat) => Some((Body::Heartbeat(WatchHeartbeat { head: beat.head_seq }), None)),
    }
}

/// An entry of the ledger as an event of its run.
pub(crate) fn event(view: &LedgerEntryView) -> Option<RunEvent> {
    let entry = view.entry.as_ref()?;
    Some(RunEvent {
        seq: entry.seq,
        event_type: entry.event_type.clone(),
        attempt: entry.attempt,
        step_index: entry.step_index,
        entity_type: entry.entity_type.clone(),
        entity_id: entry.entity_id.clone(),
        actor: Some(contracts_common::common::v1::Actor {
            r#type: entry.actor_type,
            id: entry.actor_id.clone(),
        }),
        reason: entry.reason.clone(),
        occurred_at: entry.occurred_at,
        link: view.link.clone(),
    })
}
