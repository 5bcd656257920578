//! `EventService`: where the spine takes the events of this domain from.

use std::sync::Arc;

use contracts_logs::v1::{self as pb, event_service_server::EventService};
use runspine_errors::{Violations, mesh};
use runspine_events::Feed;
use runspine_rpc::status;
use tonic::{Request, Response, Status};

use crate::app::App;

/// Serves the outbox.
pub struct Events {
    /// The use cases.
    pub app: Arc<App>,
}

fn consumer(name: &str, found: &mut Violations) {
    let named = (1..=64).contains(&name.len());
    found.require(named, "consumer", "FIELD_INVALID", "is 1 to 64 characters long");
}

#[tonic::async_trait]
impl EventService for Events {
    async fn pull_events(
        &self,
        request: Request<pb::PullEventsRequest>,
    ) -> Result<Response<pb::PullEventsResponse>, Status> {
        let request = request.into_inner();
        let mut found = Violations::new();
        consumer(&request.consumer, &mut found);
        let in_range = (0..=500).contains(&request.limit);
        found.require(in_range, "limit", "FIELD_INVALID", "is 0 (the default) to 500");
        found.into_result(&mesh::FIELD_INVALID).map_err(status)?;
        let limit = u32::try_from(request.limit).ok().filter(|limit| *limit > 0).unwrap_or(100);
        let pulled = Feed::new(&self.app.db).pull(&request.consumer, limit).await.map_err(status)?;
        Ok(Response::new(pb::PullEventsResponse { events: pulled.events, head: pulled.head }))
    }

    async fn ack_events(
        &self,
        request: Request<pb::AckEventsRequest>,
    ) -> Result<Response<pb::AckEventsResponse>, Status> {
        let request = request.into_inner();
        let mut found = Violations::new();
        consumer(&request.consumer, &mut found);
        found.into_result(&mesh::FIELD_INVALID).map_err(status)?;
        let (feed, clock) = (Feed::new(&self.app.db), self.app.clock.as_ref());
        feed.ack(&request.consumer, request.sequence, clock).await.map_err(status)?;
        Ok(Response::new(pb::AckEventsResponse {}))
    }
}
