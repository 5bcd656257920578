//! EventService: where the spine takes the domain's events from.

use contracts_incidents::v1::{
    AckEventsRequest, AckEventsResponse, PullEventsRequest, PullEventsResponse,
    event_service_server::EventService,
};
use runspine_errors::{Outcome, mesh};
use runspine_events::Feed;
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, checks::Checks};

/// Events of a pull that names no limit.
const DEFAULT_LIMIT: u32 = 100;

#[tonic::async_trait]
impl EventService for Rpc {
    async fn pull_events(
        &self,
        request: Request<PullEventsRequest>,
    ) -> Result<Response<PullEventsResponse>, Status> {
        context(&request)?;
        let (consumer, limit) = parse_pull(request.into_inner()).map_err(status)?;
        let pulled = Feed::new(self.app.db()).pull(&consumer, limit).await.map_err(status)?;
        Ok(Response::new(PullEventsResponse { events: pulled.events, head: pulled.head }))
    }

    async fn ack_events(
        &self,
        request: Request<AckEventsRequest>,
    ) -> Result<Response<AckEventsResponse>, Status> {
        context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.required(&mesh::FIELD_INVALID, "consumer", &request.consumer, 64);
        let consumer = checks.done(Some(request.consumer)).map_err(status)?;
        Feed::new(self.app.db()).ack(&consumer, request.sequence, self.app.clock()).await.map_err(status)?;
        Ok(Response::new(AckEventsResponse {}))
    }
}

fn parse_pull(request: PullEventsRequest) -> Outcome<(String, u32)> {
    let mut checks = Checks::default();
    checks.required(&mesh::FIELD_INVALID, "consumer", &request.consumer, 64);
    let limit = match u32::try_from(request.limit) {
        Ok(0) => Some(DEFAULT_LIMIT),
        Ok(limit) if limit <= 500 => Some(limit),
        _ => None,
    };
    checks.require(limit.is_some(), &mesh::FIELD_INVALID, "limit", "must be 1 to 500");
    checks.done(limit.map(|limit| (request.consumer, limit)))
}
