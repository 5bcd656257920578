//! EventService: where the spine takes the domain's events from.

use contracts_activity::v1::{
    AckEventsRequest, AckEventsResponse, PullEventsRequest, PullEventsResponse,
    event_service_server::EventService,
};
use runspine_events::Feed;
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, checks::Checks};

#[tonic::async_trait]
impl EventService for Rpc {
    async fn pull_events(
        &self,
        request: Request<PullEventsRequest>,
    ) -> Result<Response<PullEventsResponse>, Status> {
        context(&request)?;
        let request = request.into_inner();
        let limit = if request.limit == 0 { 100 } else { request.limit };
        let mut checks = Checks::default();
        checks.text("consumer", &request.consumer, 1, 64);
        checks.range("limit", limit.into(), 1, 500);
        checks.done().map_err(status)?;
        let pulled = Feed::new(&self.app.db).pull(&request.consumer, limit).await.map_err(status)?;
        Ok(Response::new(PullEventsResponse { events: pulled.events, head: pulled.head }))
    }

    async fn ack_events(
        &self,
        request: Request<AckEventsRequest>,
    ) -> Result<Response<AckEventsResponse>, Status> {
        context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.text("consumer", &request.consumer, 1, 64);
        checks.done().map_err(status)?;
        let feed = Feed::new(&self.app.db);
        feed.ack(&request.consumer, request.sequence, self.app.clock.as_ref()).await.map_err(status)?;
        Ok(Response::new(AckEventsResponse {}))
    }
}
