//! `SpanService`.

use std::{sync::Arc, time::Duration};

use contracts_logs::v1::{self as pb, span_service_server::SpanService};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{audit::fields::Fields, span_parse::spans};
use crate::app::{
    App,
    once::Once,
    spans::{Claim, Taken, Unknown},
};

const CLAIM: &str = "runspine.logs.v1.SpanService/ClaimObservedRuns";

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
        let request = request.into_inner();
        let spans = spans(&request.resource_spans).map_err(status)?;
        let taken = self.app.append_spans(&call, spans, request.observe).await.map_err(status)?;
        Ok(Response::new(present(taken)))
    }

    async fn claim_observed_runs(
        &self,
        request: Request<pb::ClaimObservedRunsRequest>,
    ) -> Result<Response<pb::ClaimObservedRunsResponse>, Status> {
        let call = context(&request)?;
        let request = request.into_inner();
        let once = Once::new(&call, CLAIM, &request.request_id, &request);
        let claim = parse(request).map_err(status)?;
        let answer = self.app.claim_observed(&call, claim, once).await.map_err(status)?;
        pb::ClaimObservedRunsResponse::decode(answer)
            .map(Response::new)
            .map_err(|e| status(Fault::new(&mesh::INTERNAL, "a kept answer can't be read").caused_by(e)))
    }
}

fn parse(request: pb::ClaimObservedRunsRequest) -> Result<Claim, Fault> {
    let mut fields = Fields::new();
    fields.request_id(request.request_id);
    fields.done()?;
    let limit = if request.limit == 0 { 50 } else { request.limit.min(200) };
    let lease = if request.lease_ms == 0 { 30_000 } else { request.lease_ms.min(120_000) };
    Ok(Claim { limit, lease: Duration::from_millis(lease) })
}

fn present(taken: Taken) -> pb::AppendSpansResponse {
    let rejected =
        |(span_id, reason): (String, &str)| pb::RejectedSpan { span_id, reason: reason.to_owned() };
    let unknown = |run: Unknown| pb::UnknownRun {
        run_id: run.run_id,
        agent_id: run.agent_id,
        external_trace_id: run.external_trace_id,
    };
    pb::AppendSpansResponse {
        stored: taken.stored,
        duplicates: taken.duplicates,
        late: taken.late,
        ignored: taken.ignored,
        rejected: taken.rejected.into_iter().map(rejected).collect(),
        unknown: taken.unknown.into_iter().map(unknown).collect(),
    }
}
