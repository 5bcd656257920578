//! `SpanService`.

use std::{sync::Arc, time::Duration};

use contracts_logs::v1::{self as pb, span_service_server::SpanService};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_logs_domain::span::Prices;
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{audit::fields::Fields, span_parse::spans};
use crate::app::{
    App,
    once::Once,
    spans::{Claim, Taken, Unknown},
};

/// The most prices of a table.
const MAX_PRICES: usize = 10_000;
/// The most that a million tokens can cost, in micro-USD.
const MAX_PRICE: i64 = 1_000_000_000_000;

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
        let prices = prices(request.prices.unwrap_or_default()).map_err(status)?;
        let taken = self.app.append_spans(&call, spans, (request.observe, &prices)).await.map_err(status)?;
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

fn prices(table: pb::PriceTable) -> Result<Prices, Fault> {
    let mut fields = Fields::new();
    let named = table.digest.len() == 32 || (table.digest.is_empty() && table.prices.is_empty());
    fields.require(named, "prices.digest", "has 32 bytes");
    fields.require(table.prices.len() <= MAX_PRICES, "prices.prices", "are at most 10 000");
    let each = |p: &pb::ModelPrice| {
        [p.input_microusd, p.output_microusd, p.cache_read_microusd, p.cache_write_microusd]
    };
    let fits = table.prices.iter().flat_map(each).all(|price| (0..=MAX_PRICE).contains(&price));
    fields.require(fits, "prices.prices", "cost 0 to 10^12 micro-USD for a million tokens");
    fields.done()?;
    Ok(Prices::of(table))
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
