//! `SpanService`.

use std::sync::Arc;

use contracts_logs::v1::{self as pb, span_service_server::SpanService};
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::span_parse::spans;
use crate::app::{App, spans::Taken};

/// Serves spans.
pub struct Spans {
    /// The use cases.
    pub app: Arc<App>,
}

#[tonic::async_trait]
impl SpanService for Spans {
    async fn append_spans(
        &self,
        request: Request<pb::AppendSpansRequest>,
    ) -> Result<Response<pb::AppendSpansResponse>, Status> {
        let call = context(&request)?;
        let spans = spans(&request.into_inner().resource_spans).map_err(status)?;
        let taken = self.app.append_spans(&call, spans).await.map_err(status)?;
        Ok(Response::new(present(taken)))
    }
}

fn present(taken: Taken) -> pb::AppendSpansResponse {
    let rejected =
        |(span_id, reason): (String, &str)| pb::RejectedSpan { span_id, reason: reason.to_owned() };
    pb::AppendSpansResponse {
        stored: taken.stored,
        duplicates: taken.duplicates,
        late: taken.late,
        ignored: taken.ignored,
        rejected: taken.rejected.into_iter().map(rejected).collect(),
    }
}
