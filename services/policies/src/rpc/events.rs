//! EventService: where the spine takes the domain's events from.

use contracts_common::common::v1::EventEnvelope;
use contracts_policies::v1 as pb;
use contracts_policies::v1::event_service_server::EventService;
use prost::Message as _;
use runspine_db::OutboxRow;
use runspine_errors::{Fault, Violations, mesh};
use tonic::{Request, Response, Status};

use super::{Rpc, answer};
use crate::app::unreadable;

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
        let outbox = self.app.db.outbox();
        // The head first: it is then never ahead of what the next pull can see.
        let head = outbox.head().await?;
        let rows = outbox.pull(&r.consumer, limit).await?;
        let events: Result<Vec<_>, Fault> = rows.into_iter().map(envelope).collect();
        let events = events?;
        let head = events.last().map_or(head, |last| head.max(last.sequence));
        Ok(pb::PullEventsResponse { events, head })
    }

    async fn ack(&self, r: &pb::AckEventsRequest) -> Result<pb::AckEventsResponse, Fault> {
        check_consumer(&r.consumer)?;
        self.app.db.outbox().ack(&r.consumer, r.sequence, self.app.now()).await?;
        Ok(pb::AckEventsResponse { sequence: r.sequence })
    }
}

fn check_consumer(consumer: &str) -> Result<(), Fault> {
    let mut v = Violations::new();
    v.require((1..=64).contains(&consumer.len()), "consumer", "OUT_OF_RANGE", "1 to 64 characters");
    v.into_result(&mesh::FIELD_INVALID)
}

/// The stored envelope, with its place in the outbox.
fn envelope(row: OutboxRow) -> Result<EventEnvelope, Fault> {
    let mut envelope = EventEnvelope::decode(row.envelope).map_err(unreadable)?;
    envelope.sequence = row.seq;
    Ok(envelope)
}
