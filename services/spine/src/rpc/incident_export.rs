//! `IncidentExportService`.

use std::sync::Arc;

use contracts_spine::v1::{
    ExportIncidentRequest, ExportIncidentResponse, incident_export_service_server::IncidentExportService,
};
use runspine_rpc::context;
use tonic::{Request, Response, Status};

use super::answer;
use crate::kernel::Kernel;

/// Serves `IncidentExportService` by the kernel.
#[derive(Clone)]
pub struct IncidentExportServer {
    kernel: Arc<Kernel>,
}

impl IncidentExportServer {
    /// A server over `kernel`.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>) -> Self {
        Self { kernel }
    }
}

#[tonic::async_trait]
impl IncidentExportService for IncidentExportServer {
    async fn export_incident(
        &self,
        request: Request<ExportIncidentRequest>,
    ) -> Result<Response<ExportIncidentResponse>, Status> {
        let context = context(&request)?;
        answer(Box::pin(self.kernel.export_incident(&context, request.into_inner())).await)
    }
}
