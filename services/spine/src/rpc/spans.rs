//! `SpanIngestService`.

use std::sync::Arc;

use contracts_logs::v1::PriceTable;
use contracts_spine::v1::{
    IngestSpansRequest, IngestSpansResponse, span_ingest_service_server::SpanIngestService,
};
use runspine_rpc::context;
use tonic::{Request, Response, Status};

use crate::kernel::Kernel;

/// Serves `SpanIngestService` by the kernel.
#[derive(Clone)]
pub struct SpanServer {
    kernel: Arc<Kernel>,
    prices: Arc<PriceTable>,
}

impl SpanServer {
    /// A server over `kernel`; `prices` are for spans that don't say what they cost.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>, prices: Arc<PriceTable>) -> Self {
        Self { kernel, prices }
    }
}

#[tonic::async_trait]
impl SpanIngestService for SpanServer {
    async fn ingest_spans(
        &self,
        request: Request<IngestSpansRequest>,
    ) -> Result<Response<IngestSpansResponse>, Status> {
        let context = context(&request)?;
        self.kernel.ingest_spans(&context, request.into_inner(), &self.prices).await.map(Response::new)
    }
}
