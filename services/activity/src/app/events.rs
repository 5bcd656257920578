//! Events of `activity`.

use contracts_activity::v1::{
    AttemptCreated, LeaseLapsed, PauseAdded, PauseExtended, PausesCleared, RunCreated, RunFinished,
    RunTransitioned, StopRequested,
};
use contracts_common::common::v1::EventEnvelope;
use prost::Message;
use runspine_db::{OutboxEvent, Tx};
use runspine_rpc::timestamp;
use runspine_types::{Micros, new_id};

use crate::app::Who;

/// The name under which the contract lists an event.
pub(crate) trait Event: Message {
    /// `activity.<Event>`.
    const NAME: &'static str;
    /// Full name of the message.
    const TYPE: &'static str;
}

macro_rules! events {
    ($($message:ident),*) => {$(
        impl Event for $message {
            const NAME: &'static str = concat!("activity.", stringify!($message));
            const TYPE: &'static str = concat!("runspine.activity.v1.", stringify!($message));
        }
    )*};
}
events!(
    RunCreated,
    RunTransitioned,
    RunFinished,
    AttemptCreated,
    LeaseLapsed,
    StopRequested,
    PauseAdded,
    PauseExtended,
    PausesCleared
);

/// What an event is about.
pub(crate) struct About<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) project_id: &'a str,
    pub(crate) attempt: u32,
    pub(crate) reason: &'a str,
}

/// Publishes an event with the commit of this write.
pub(crate) fn emit<E: Event>(tx: &mut Tx, who: &Who, about: &About<'_>, data: &E, at: Micros) {
    let id = new_id();
    let envelope = EventEnvelope {
        id: id.clone(),
        r#type: E::NAME.to_owned(),
        source: "activity".to_owned(),
        subject: about.run_id.to_owned(),
        time: Some(timestamp(at)),
        schema_version: "1.0.0".to_owned(),
        tenant_id: who.tenant.clone(),
        project_id: about.project_id.to_owned(),
        run_id: about.run_id.to_owned(),
        attempt: about.attempt,
        actor: Some(who.actor.clone()),
        entity_type: "run".to_owned(),
        entity_id: about.run_id.to_owned(),
        reason: about.reason.to_owned(),
        correlation_id: who.correlation_id.clone(),
        causation_id: who.causation_id.clone(),
        config_digest: who.config_digest.clone(),
        data_type: E::TYPE.to_owned(),
        data: data.encode_to_vec().into(),
        ..EventEnvelope::default()
    };
    tx.emit_raw(OutboxEvent { id, kind: E::NAME.to_owned(), envelope: envelope.encode_to_vec().into(), at });
}
