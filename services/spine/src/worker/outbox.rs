//! The outboxes of the domains, each behind its own event service.

use contracts_common::common::v1::EventEnvelope;
use runspine_rpc::{Context, Transport};

use crate::bridges::{Called, Miss, Targets};

/// The way to each outbox, for one consumer.
pub struct Outboxes {
    consumer: &'static str,
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

            use super::{Called, Context, Miss, Transport};

            pub async fn pull(
                to: Transport,
                context: &Context,
                consumer: &str,
                limit: u32,
            ) -> Called<Vec<EventEnvelope>> {
                let request = PullEventsRequest {
                    consumer: consumer.to_owned(),
                    limit: limit.try_into().unwrap_or(100),
                };
                let answer = EventServiceClient::new(to).pull_events(context.request(request)).await;
                answer.map(|a| a.into_inner().events).map_err(Miss::new)
            }

            pub async fn ack(to: Transport, context: &Context, consumer: &str, sequence: u64) -> Called<()> {
                let request = AckEventsRequest { consumer: consumer.to_owned(), sequence };
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

    /// The outboxes behind the given ways, which keep the place of `consumer`.
    #[must_use]
    pub fn new(to: &Targets, consumer: &'static str) -> Self {
        Self {
            consumer,
            activity: to.activity.clone(),
            incidents: to.incidents.clone(),
            policies: to.policies.clone(),
            logs: to.logs.clone(),
            controls: to.controls.clone(),
        }
    }

    /// The next events that the consumer has not acknowledged.
    pub async fn pull(&self, context: &Context, domain: &str, limit: u32) -> Called<Vec<EventEnvelope>> {
        match domain {
            "activity" => activity_events::pull(self.activity.clone(), context, self.consumer, limit).await,
            "incidents" => {
                incidents_events::pull(self.incidents.clone(), context, self.consumer, limit).await
            }
            "policies" => policies_events::pull(self.policies.clone(), context, self.consumer, limit).await,
            "logs" => logs_events::pull(self.logs.clone(), context, self.consumer, limit).await,
            "controls" => controls_events::pull(self.controls.clone(), context, self.consumer, limit).await,
            _ => Err(unknown()),
        }
    }

    /// Everything up to `sequence` has arrived.
    pub async fn ack(&self, context: &Context, domain: &str, sequence: u64) -> Called<()> {
        match domain {
            "activity" => activity_events::ack(self.activity.clone(), context, self.consumer, sequence).await,
            "incidents" => {
                incidents_events::ack(self.incidents.clone(), context, self.consumer, sequence).await
            }
            "policies" => policies_events::ack(self.policies.clone(), context, self.consumer, sequence).await,
            "logs" => logs_events::ack(self.logs.clone(), context, self.consumer, sequence).await,
            "controls" => controls_events::ack(self.controls.clone(), context, self.consumer, sequence).await,
            _ => Err(unknown()),
        }
    }
}

fn unknown() -> Miss {
    Miss::new(tonic::Status::not_found("no such domain"))
}
