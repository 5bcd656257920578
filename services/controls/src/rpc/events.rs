//! EventService: hands the outbox to the spine.

use contracts_controls::v1::{self as pb, event_service_server::EventService};
use runspine_errors::mesh;
use runspine_events::Feed;
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, checks::Checks};

/// Events of a pull that names no number.
const DEFAULT: u32 = 100;

#[tonic::async_trait]
impl EventService for Rpc {
    async fn pull_events(
        &self,
        request: Request<pb::PullEventsRequest>,
    ) -> Result<Response<pb::PullEventsResponse>, Status> {
        context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.words_of("consumer", &request.consumer, 1, 64);
        checks.require(request.limit <= 500, &mesh::FIELD_INVALID, "limit", "must be 1 to 500");
        checks.done(Some(())).map_err(status)?;
        let limit = if request.limit == 0 { DEFAULT } else { request.limit };
        let pulled = Feed::new(&self.app.db).pull(&request.consumer, limit).await.map_err(status)?;
        Ok(Response::new(pb::PullEventsResponse { events: pulled.events, head: pulled.head }))
    }

    async fn ack_events(
        &self,
        request: Request<pb::AckEventsRequest>,
    ) -> Result<Response<pb::AckEventsResponse>, Status> {
        context(&request)?;
        let request = request.into_inner();
        let mut checks = Checks::default();
        checks.words_of("consumer", &request.consumer, 1, 64);
        checks.done(Some(())).map_err(status)?;
        let feed = Feed::new(&self.app.db);
        feed.ack(&request.consumer, request.sequence, self.app.clock.as_ref()).await.map_err(status)?;
        Ok(Response::new(pb::AckEventsResponse { sequence: request.sequence }))
    }
}
