//! RateService.

use contracts_controls::v1::{self as pb, rate_service_server::RateService};
use runspine_controls_domain::words::Scope;
use runspine_errors::Fault;
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, after, checks::Checks, cut, keyed, query_of};
use crate::{app::rates::rate_to, store::views::EnvelopeFilter};

const RESET: &str = "runspine.controls.v1.RateService/ResetBucket";

#[tonic::async_trait]
impl RateService for Rpc {
    async fn get_rate_status(
        &self,
        request: Request<pb::GetRateStatusRequest>,
    ) -> Result<Response<pb::GetRateStatusResponse>, Status> {
        let context = context(&request)?;
        self.rate_status(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn reset_bucket(
        &self,
        request: Request<pb::ResetBucketRequest>,
    ) -> Result<Response<pb::ResetBucketResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.request_id(&request.request_id);
        checks.id("limit_id", &request.limit_id);
        checks.text("scope_id", &request.scope_id, 128);
        checks.reason(&request.reason, 10);
        checks.done(Some(())).map_err(status)?;
        let keyed = keyed(&context, RESET, &request.request_id, &request);
        let reset = self.app.reset_bucket(keyed, request.limit_id, request.scope_id, request.reason).await;
        reset.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn rate_status(
        &self,
        tenant: &str,
        request: pb::GetRateStatusRequest,
    ) -> Result<pb::GetRateStatusResponse, Fault> {
        let mut checks = Checks::default();
        checks.optional_word("scope", request.scope, Scope::from_code);
        let size = checks.page_size(request.page_size);
        let size = checks.done(size)?;
        let bare = pb::GetRateStatusRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let query = query_of("rates", tenant, &bare);
        let filter = EnvelopeFilter {
            scopes: Some(request.scope).filter(|scope| *scope != 0).into_iter().collect(),
            scope_id: Some(request.scope_id).filter(|id| !id.is_empty()),
            after: after(&request.page_token, query, 0)?,
            limit: size.probe(),
            ..EnvelopeFilter::default()
        };
        let mut rows = self.rate_views(tenant, &filter).await?;
        let next_page_token = cut(&mut rows, size, query, |view| view.envelope.envelope_key);
        let now = self.app.clock.now();
        Ok(pb::GetRateStatusResponse {
            rates: rows.iter().map(|row| rate_to(row, now)).collect(),
            next_page_token,
        })
    }
}
