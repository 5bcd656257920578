//! `ExportService`.

use std::{pin::Pin, sync::Arc};

use contracts_logs::v1::{self as pb, build_run_bundle_request::Part, export_service_server::ExportService};
use futures::{Stream, StreamExt as _};
use runspine_errors::{Fault, Violations, mesh};
use runspine_rpc::{context, status};
use runspine_types::{is_uuid, is_uuid_v7};
use tonic::{Request, Response, Status, Streaming};

use super::export_orders;
use crate::app::{App, build_bundle::Gathered};

/// Most bytes of one document.
const MAX_DOCUMENT: usize = 1024 * 1024;
/// Most bytes of all documents of one bundle.
const MAX_GATHERED: usize = 256 * 1024 * 1024;

/// Serves exports.
pub struct Exports {
    /// The use cases.
    pub app: Arc<App>,
}

fn head(head: &pb::BundleHead) -> Result<(), Fault> {
    let mut found = Violations::new();
    found.require(is_uuid_v7(&head.run_id), "head.run_id", "FIELD_INVALID", "is a UUIDv7");
    let named = head.bundle_id.is_empty() || is_uuid(&head.bundle_id);
    found.require(named, "head.bundle_id", "FIELD_INVALID", "is a UUID");
    found.require(head.created_by.len() <= 128, "head.created_by", "FIELD_INVALID", "is at most 128 bytes");
    let reason = head.reason.chars().count() <= 500;
    found.require(reason, "head.reason", "FIELD_INVALID", "is at most 500 characters");
    found.into_result(&mesh::FIELD_INVALID)
}

/// Checks a decision document.
pub(super) fn document(document: &pb::DecisionDocument) -> Result<(), Fault> {
    let mut found = Violations::new();
    let named = (1..=128).contains(&document.decision_id.len());
    found.require(named, "decision.decision_id", "FIELD_INVALID", "is 1 to 128 bytes long");
    let fits = document.row_json.len() <= MAX_DOCUMENT && document.inputs.len() <= MAX_DOCUMENT;
    found.require(fits, "decision", "FIELD_INVALID", "has a row and inputs of at most 1 MiB each");
    found.into_result(&mesh::FIELD_INVALID)
}

/// Takes the caller's side of the stream to its end.
async fn gather(mut parts: Streaming<pb::BuildRunBundleRequest>) -> Result<Gathered, Status> {
    let refuse = |what: &str| {
        status(Fault::new(&mesh::FIELD_INVALID, what).field(
            "part",
            "FIELD_INVALID",
            "is a head, then documents",
        ))
    };
    let mut gathered = Gathered::default();
    let (mut begun, mut bytes) = (false, 0);
    while let Some(message) = parts.message().await? {
        match message.part {
            Some(Part::Head(given)) if !begun => {
                head(&given).map_err(status)?;
                (gathered.head, begun) = (given, true);
            }
            Some(Part::Decision(given)) if begun => {
                document(&given).map_err(status)?;
                bytes += given.row_json.len() + given.inputs.len();
                if bytes > MAX_GATHERED {
                    let message = "the documents are larger than 256 MiB together";
                    return Err(status(Fault::new(&mesh::MESSAGE_TOO_LARGE, message)));
                }
                gathered.decisions.insert(given.decision_id.clone(), given);
            }
            Some(Part::Missing(given)) if begun => gathered.missing.push(given),
            _ => return Err(refuse("the first message is the head, and each message has one part")),
        }
    }
    if begun { Ok(gathered) } else { Err(refuse("the stream has no head")) }
}

#[tonic::async_trait]
impl ExportService for Exports {
    type BuildRunBundleStream =
        Pin<Box<dyn Stream<Item = Result<pb::BuildRunBundleResponse, Status>> + Send>>;

    async fn build_run_bundle(
        &self,
        request: Request<Streaming<pb::BuildRunBundleRequest>>,
    ) -> Result<Response<Self::BuildRunBundleStream>, Status> {
        let call = context(&request)?;
        let gathered = gather(request.into_inner()).await?;
        let chunks = self.app.build_bundle(&call.tenant_id, gathered).await.map_err(status)?;
        let pieces = futures::stream::iter(chunks);
        let messages = pieces.map(|chunk| Ok(pb::BuildRunBundleResponse { chunk: chunk.into() }));
        Ok(Response::new(Box::pin(messages)))
    }

    async fn add_export_part(
        &self,
        request: Request<Streaming<pb::AddExportPartRequest>>,
    ) -> Result<Response<pb::AddExportPartResponse>, Status> {
        let call = context(&request)?;
        self.add_part(&call, request.into_inner()).await.map(Response::new)
    }

    async fn create_export(
        &self,
        request: Request<pb::CreateExportRequest>,
    ) -> Result<Response<pb::CreateExportResponse>, Status> {
        let call = context(&request)?;
        self.create(&call, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn get_export(
        &self,
        request: Request<pb::GetExportRequest>,
    ) -> Result<Response<pb::GetExportResponse>, Status> {
        let call = context(&request)?;
        let id = request.into_inner().export_id;
        let mut found = Violations::new();
        found.require(is_uuid(&id), "export_id", "FIELD_INVALID", "is a UUID");
        found.into_result(&mesh::FIELD_INVALID).map_err(status)?;
        self.app.get_export(&call.tenant_id, &id).await.map(Response::new).map_err(status)
    }

    async fn list_exports(
        &self,
        request: Request<pb::ListExportsRequest>,
    ) -> Result<Response<pb::ListExportsResponse>, Status> {
        let call = context(&request)?;
        self.list(&call.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    type DownloadExportStream = export_orders::Pieces;

    async fn download_export(
        &self,
        request: Request<pb::DownloadExportRequest>,
    ) -> Result<Response<Self::DownloadExportStream>, Status> {
        let call = context(&request)?;
        self.download(&call, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn check_completeness(
        &self,
        request: Request<pb::CheckCompletenessRequest>,
    ) -> Result<Response<pb::CheckCompletenessResponse>, Status> {
        export_orders::completeness(request.into_inner()).map(Response::new).map_err(status)
    }
}
