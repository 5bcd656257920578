//! `EventService`: where the spine takes the events of this domain from.

use std::sync::Arc;

use contracts_common::common::v1::EventEnvelope;
use contracts_logs::v1::{self as pb, event_service_server::EventService};
use prost::Message as _;
use runspine_errors::{Fault, Violations, mesh};
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

fn unreadable(error: prost::DecodeError) -> Status {
    status(Fault::new(&mesh::INTERNAL, "an event can't be read").caused_by(error))
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
        let outbox = self.app.db.outbox();
        // Read before the events; what was committed in between may lie beyond it.
        let head = outbox.head().await.map_err(|error| status(error.into()))?;
        let rows = outbox.pull(&request.consumer, limit).await.map_err(|error| status(error.into()))?;
        let head = rows.last().map_or(head, |last| head.max(last.seq));
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            let mut event = EventEnvelope::decode(row.envelope).map_err(unreadable)?;
            event.sequence = row.seq;
            events.push(event);
        }
        Ok(Response::new(pb::PullEventsResponse { events, head }))
    }

    async fn ack_events(
        &self,
        request: Request<pb::AckEventsRequest>,
    ) -> Result<Response<pb::AckEventsResponse>, Status> {
        let request = request.into_inner();
        let mut found = Violations::new();
        consumer(&request.consumer, &mut found);
        found.into_result(&mesh::FIELD_INVALID).map_err(status)?;
        let outbox = self.app.db.outbox();
        outbox.ack(&request.consumer, request.sequence, self.app.clock.now()).await.map_err(status)?;
        Ok(Response::new(pb::AckEventsResponse {}))
    }
}
