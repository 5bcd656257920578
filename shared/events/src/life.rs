//! The life of an instance, told through the outbox of its service: that it began, ended as it should, or migrated its
//! store. Whoever finds a beginning behind a beginning knows that it was killed.

use std::sync::Arc;

use contracts_common::common::v1::{Actor, ActorType, EventEnvelope, InstanceChange, InstanceEvent};
use runspine_db::Db;
use runspine_errors::Fault;
use runspine_types::{Clock, Instance, PLATFORM_TENANT, new_id};

use crate::Emit as _;

/// The event of every domain that tells of it.
const EVENT: &str = "InstanceChanged";

/// An instance of a service with a store.
pub struct Life {
    db: Db,
    clock: Arc<dyn Clock>,
    instance: Instance,
    wrap: fn(InstanceEvent) -> Vec<u8>,
}

impl Life {
    /// The life of `instance`, told to the outbox of `db`; `wrap` encodes the domain's own `InstanceChanged`.
    #[must_use]
    pub fn new(
        db: &Db,
        clock: &Arc<dyn Clock>,
        instance: Instance,
        wrap: fn(InstanceEvent) -> Vec<u8>,
    ) -> Self {
        Self { db: db.clone(), clock: Arc::clone(clock), instance, wrap }
    }

    /// Tells that the store was migrated, when it was, and that the instance began; after `stop` that it ended. What
    /// can't be told is logged: nobody is kept from serving for it.
    pub async fn tell(self, stop: impl Future<Output = ()>) {
        let steps = self.db.migrated();
        if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
            self.say(InstanceChange::Migration, format!("{first} to {last}")).await;
        }
        self.say(InstanceChange::Startup, String::new()).await;
        stop.await;
        self.say(InstanceChange::Shutdown, String::new()).await;
    }

    async fn say(&self, change: InstanceChange, summary: String) {
        let envelope = self.envelope(change, summary);
        let told = self.db.write("tell_of_life", move |tx| {
            Box::pin(async move {
                tx.emit(&envelope);
                Ok::<(), Fault>(())
            })
        });
        if let Err(fault) = told.await {
            tracing::warn!(%fault, ?change, "what the instance did could not be told");
        }
    }

    fn envelope(&self, change: InstanceChange, summary: String) -> EventEnvelope {
        let domain = self.db.domain();
        let Instance { name, version, config_digest } = &self.instance;
        let (seconds, nanos) = self.clock.now().to_timestamp();
        let event = InstanceEvent {
            change: change.into(),
            instance: name.clone(),
            version: (*version).to_owned(),
            config_digest: config_digest.to_vec().into(),
            summary,
        };
        EventEnvelope {
            id: new_id(),
            r#type: format!("{domain}.{EVENT}"),
            source: domain.to_owned(),
            subject: name.clone(),
            time: Some(prost_types::Timestamp { seconds, nanos }),
            schema_version: "1.0.0".to_owned(),
            tenant_id: PLATFORM_TENANT.to_owned(),
            actor: Some(Actor { r#type: ActorType::System.into(), id: domain.to_owned() }),
            entity_type: "instance".to_owned(),
            entity_id: name.clone(),
            config_digest: config_digest.to_vec().into(),
            data_type: format!("runspine.{domain}.v1.{EVENT}"),
            data: (self.wrap)(event).into(),
            ..EventEnvelope::default()
        }
    }
}
