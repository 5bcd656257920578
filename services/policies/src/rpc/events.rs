//! EventService: where the spine takes the domain's events from.

use contracts_policies::v1::{self as pb, event_service_server::EventService};
use runspine_errors::{Fault, Violations, mesh};
use runspine_events::Feed;
use tonic::{Request, Response, Status};

use super::{Rpc, answer};

/// Events of a pull that names no limit, and the most of any.
const LIMITS: (u32, u32) = (100, 500);

#[tonic::async_trait]
impl EventService for Rpc {
    async fn pull_events(
        &self,
        request: Request<pb::PullEventsRequest>,
    ) -> Result<Response<pb::PullEventsResponse>, Status> {
        let (_, r) = self.open(request)?;
        answer(self.pull(&r).await)
    }

    async fn ack_events(
        &self,
        request: Request<pb::AckEventsRequest>,
    ) -> Result<Response<pb::AckEventsResponse>, Status> {
        let (_, r) = self.open(request)?;
        answer(self.ack(&r).await)
    }
}

impl Rpc {
    async fn pull(&self, r: &pb::PullEventsRequest) -> Result<pb::PullEventsResponse, Fault> {
        check_consumer(&r.consumer)?;
        let limit = if r.limit == 0 { LIMITS.0 } else { r.limit.min(LIMITS.1) };
        let pulled = Feed::new(&self.app.db).pull(&r.consumer, limit).await?;
        Ok(pb::PullEventsResponse { events: pulled.events, head: pulled.head })
    }

    async fn ack(&self, r: &pb::AckEventsRequest) -> Result<pb::AckEventsResponse, Fault> {
        check_consumer(&r.consumer)?;
        Feed::new(&self.app.db).ack(&r.consumer, r.sequence, self.app.clock.as_ref()).await?;
        Ok(pb::AckEventsResponse { sequence: r.sequence })
    }
}

fn check_consumer(consumer: &str) -> Result<(), Fault> {
    let mut v = Violations::new();
    v.require((1..=64).contains(&consumer.len()), "consumer", "OUT_OF_RANGE", "1 to 64 characters");
    v.into_result(&mesh::FIELD_INVALID)
}
