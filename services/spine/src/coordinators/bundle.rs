//! Gathers what other domains own of a run's evidence and lets logs build the one file that travels.

use contracts_logs::v1::{
    BuildRunBundleRequest, BundleHead, BundleMissing, BundleMissingStatus, CreateCheckpointRequest,
    DecisionDocument, build_run_bundle_request::Part, export_service_client::ExportServiceClient,
    ledger_service_client::LedgerServiceClient,
};
use contracts_policies::v1::ExportDecisionsRequest;
use contracts_spine::v1::{ExportRunBundleRequest, ExportRunBundleResponse};
use runspine_errors::Outcome;
use runspine_rpc::{Context, Transport};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{
    bridges::{Bridges, Called, Miss},
    kernel::{Kernel, LedgerNote, validate},
};

/// The file, in pieces.
pub type Pieces = ReceiverStream<Result<ExportRunBundleResponse, Status>>;

const BUFFER: usize = 16;
const PAGE: i32 = 200;

impl Kernel {
    /// Exports the bundle of a run.
    ///
    /// # Errors
    /// When the run is not known, or logs refuses to build it.
    pub async fn export_bundle(
        &self,
        context: &Context,
        request: ExportRunBundleRequest,
        logs: &Transport,
    ) -> Outcome<Pieces> {
        validate::run_id(&request.run_id)?;
        let context = context.for_run(&request.run_id);
        let state = self.attempt(&context, &request.run_id, 0).await?;
        let said = LedgerNote {
            event: "spine.RunBundleExported",
            run_id: &request.run_id,
            attempt: state.state.attempt,
            key: &request.request_id,
            reason: &request.reason,
            ..LedgerNote::default()
        };
        // Told before it is built, so that no bundle leaves the house unrecorded.
        self.tell_ledger(&context, &said).await?;
        anchor(&context, logs).await;
        let (parts, incoming) = mpsc::channel(BUFFER);
        let head = BundleHead {
            run_id: request.run_id.clone(),
            bundle_id: request.request_id.clone(),
            created_by: context.actor.as_ref().map(|a| a.id.clone()).unwrap_or_default(),
            reason: request.reason.clone(),
            allow_open: request.allow_open,
        };
        let (send, receive) = mpsc::channel(BUFFER);
        let mut client = ExportServiceClient::new(logs.clone());
        let bridges = self.bridges.clone();
        tokio::spawn({
            let (context, run_id) = (context.clone(), request.run_id.clone());
            let attempts = state.state.latest_attempt.max(state.state.attempt);
            async move {
                let _ = parts.send(BuildRunBundleRequest { part: Some(Part::Head(head)) }).await;
                for attempt in 1..=attempts {
                    gather(&bridges, &context, &run_id, attempt, &parts).await;
                }
            }
        });
        tokio::spawn(async move {
            let built = client.build_run_bundle(context.request(ReceiverStream::new(incoming))).await;
            let mut pieces = match built {
                Ok(pieces) => pieces.into_inner(),
                Err(status) => {
                    let _ = send.send(Err(status)).await;
                    return;
                }
            };
            loop {
                let piece = match pieces.message().await {
                    Ok(Some(piece)) => Ok(ExportRunBundleResponse { chunk: piece.chunk }),
                    Ok(None) => return,
                    Err(status) => Err(status),
                };
                let failed = piece.is_err();
                if send.send(piece).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(ReceiverStream::new(receive))
    }
}

/// Has everything that is on the ledger put under a checkpoint, so that the bundle can prove its entries. A bundle
/// without one says so itself.
async fn anchor(context: &Context, logs: &Transport) {
    let mut client = LedgerServiceClient::new(logs.clone());
    if let Err(status) = client.create_checkpoint(context.request(CreateCheckpointRequest::default())).await {
        tracing::warn!(code = ?status.code(), message = status.message(), "a bundle gets no new checkpoint");
    }
}

/// Sends the decisions of an attempt, or the fact that they can't be had.
async fn gather(
    bridges: &Bridges,
    context: &Context,
    run_id: &str,
    attempt: u32,
    parts: &mpsc::Sender<BuildRunBundleRequest>,
) {
    let mut page_token = String::new();
    loop {
        let (documents, next) = match decisions(bridges, context, (run_id, attempt), page_token).await {
            Ok(page) => page,
            Err(miss) => {
                let _ = parts.send(BuildRunBundleRequest { part: Some(Part::Missing(missing(&miss))) }).await;
                return;
            }
        };
        for document in documents {
            let part = BuildRunBundleRequest { part: Some(Part::Decision(document)) };
            if parts.send(part).await.is_err() {
                return;
            }
        }
        page_token = next;
        if page_token.is_empty() {
            return;
        }
    }
}

/// A page of what policies kept of an attempt's decisions, and the token of the next one. Nothing for an attempt that
/// policies never saw.
pub(super) async fn decisions(
    bridges: &Bridges,
    context: &Context,
    (run_id, attempt): (&str, u32),
    page_token: String,
) -> Called<(Vec<DecisionDocument>, String)> {
    let request = ExportDecisionsRequest { run_id: run_id.to_owned(), attempt, page_size: PAGE, page_token };
    let page = match bridges.policy_runs.decisions(context, request).await {
        Ok(page) => page,
        Err(miss) if miss.is_not_found() => return Ok((Vec::new(), String::new())),
        Err(miss) => return Err(miss),
    };
    let documents = page.decisions.into_iter().map(|decision| DecisionDocument {
        decision_id: decision.decision_id,
        row_json: decision.row_json,
        inputs: decision.inputs_bytes,
    });
    Ok((documents.collect(), page.next_page_token))
}

fn missing(miss: &Miss) -> BundleMissing {
    let status = if miss.is_timeout() {
        BundleMissingStatus::Timeout
    } else if miss.is_misconfigured() {
        BundleMissingStatus::Denied
    } else {
        BundleMissingStatus::Error
    };
    BundleMissing { section: "decision".to_owned(), status: status.into(), reason: miss.reason() }
}
