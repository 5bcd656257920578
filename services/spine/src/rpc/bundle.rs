//! `RunBundleService`.

use std::sync::Arc;

use contracts_spine::v1::{ExportRunBundleRequest, run_bundle_service_server::RunBundleService};
use runspine_rpc::{Transport, context};
use tonic::{Request, Response, Status};

use super::answer;
use crate::{coordinators::bundle::Pieces, kernel::Kernel};

/// Serves `RunBundleService` by the kernel.
#[derive(Clone)]
pub struct BundleServer {
    kernel: Arc<Kernel>,
    logs: Transport,
}

impl BundleServer {
    /// A server over `kernel`; `logs` is the way to the builder.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>, logs: Transport) -> Self {
        Self { kernel, logs }
    }
}

#[tonic::async_trait]
impl RunBundleService for BundleServer {
    type ExportRunBundleStream = Pieces;

    async fn export_run_bundle(
        &self,
        request: Request<ExportRunBundleRequest>,
    ) -> Result<Response<Self::ExportRunBundleStream>, Status> {
        let context = context(&request)?;
        answer(self.kernel.export_bundle(&context, request.into_inner(), &self.logs).await)
    }
}
