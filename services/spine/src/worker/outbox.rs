//! The outboxes of the domains, each behind its own event service.

use contracts_common::common::v1::EventEnvelope;
use runspine_rpc::{Context, Transport};

use super::relay::CONSUMER;
use crate::bridges::{Called, Miss, Targets};

/// The way to each outbox.
pub struct Outboxes {
    activity: Transport,
    incidents: Transport,
    policies: Transport,
    logs: Transport,
    controls: Transport,
}

macro_rules! event_service {
    ($name:ident, $contract:ident) => {
        mod $name {
            use contracts_common::common::v1::EventEnvelope;
            use $contract::v1::{
                AckEventsRequest, PullEventsRequest, event_service_client::EventServiceClient,
            };

            use super::{CONSUMER, Called, Context, Miss, Transport};

            pub async fn pull(to: Transport, context: &Context, limit: u32) -> Called<Vec<EventEnvelope>> {
                let request = PullEventsRequest {
                    consumer: CONSUMER.to_owned(),
                    limit: limit.try_into().unwrap_or(100),
                };
                let answer = EventServiceClient::new(to).pull_events(context.request(request)).await;
                answer.map(|a| a.into_inner().events).map_err(Miss::new)
            }

            pub async fn ack(to: Transport, context: &Context, sequence: u64) -> Called<()> {
                let request = AckEventsRequest { consumer: CONSUMER.to_owned(), sequence };
                let answer = EventServiceClient::new(to).ack_events(context.request(request)).await;
                answer.map(|_| ()).map_err(Miss::new)
            }
        }
    };
}

event_service!(activity_events, contracts_activity);
event_service!(incidents_events, contracts_incidents);
event_service!(policies_events, contracts_policies);
event_service!(logs_events, contracts_logs);
event_service!(controls_events, contracts_controls);

impl Outboxes {
    /// The domains that have one.
    pub const DOMAINS: [&'static str; 5] = ["activity", "incidents", "policies", "logs", "controls"];

    /// The outboxes behind the given ways.
    #[must_use]
    pub fn new(to: &Targets) -> Self {
        Self {
            activity: to.activity.clone(),
            incidents: to.incidents.clone(),
            policies: to.policies.clone(),
            logs: to.logs.clone(),
            controls: to.controls.clone(),
        }
    }

    /// The next events that the relay has not acknowledged.
    pub async fn pull(&self, context: &Context, domain: &str, limit: u32) -> Called<Vec<EventEnvelope>> {
        match domain {
            "activity" => activity_events::pull(self.activity.clone(), context, limit).await,
            "incidents" => incidents_events::pull(self.incidents.clone(), context, limit).await,
            "policies" => policies_events::pull(self.policies.clone(), context, limit).await,
            "logs" => logs_events::pull(self.logs.clone(), context, limit).await,
            "controls" => controls_events::pull(self.controls.clone(), context, limit).await,
            _ => Err(unknown()),
        }
    }

    /// Everything up to `sequence` has arrived.
    pub async fn ack(&self, context: &Context, domain: &str, sequence: u64) -> Called<()> {
        match domain {
            "activity" => activity_events::ack(self.activity.clone(), context, sequence).await,
            "incidents" => incidents_events::ack(self.incidents.clone(), context, sequence).await,
            "policies" => policies_events::ack(self.policies.clone(), context, sequence).await,
            "logs" => logs_events::ack(self.logs.clone(), context, sequence).await,
            "controls" => controls_events::ack(self.controls.clone(), context, sequence).await,
            _ => Err(unknown()),
        }
    }
}

fn unknown() -> Miss {
    Miss::new(tonic::Status::not_found("no such domain"))
}
