//! `EvidenceCaptureService`.

use std::sync::Arc;

use contracts_spine::v1::{
    CaptureRequest, CaptureResponse, evidence_capture_service_server::EvidenceCaptureService,
};
use runspine_rpc::context;
use tonic::{Request, Response, Status};

use super::answer;
use crate::kernel::Kernel;

/// Serves `EvidenceCaptureService` by the kernel.
#[derive(Clone)]
pub struct EvidenceCaptureServer {
    kernel: Arc<Kernel>,
}

impl EvidenceCaptureServer {
    /// A server over `kernel`.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>) -> Self {
        Self { kernel }
    }
}

#[tonic::async_trait]
impl EvidenceCaptureService for EvidenceCaptureServer {
    async fn capture(&self, request: Request<CaptureRequest>) -> Result<Response<CaptureResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.capture(&context, request.into_inner()).await)
    }
}
