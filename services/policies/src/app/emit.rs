//! Events as they leave.

use contracts_common::common::v1::EventEnvelope;
use prost::Message;
use runspine_db::OutboxEvent;
use runspine_types::{Micros, new_id};

use super::Who;

/// What an event is about.
#[derive(Debug, Clone, Default)]
pub(crate) struct About {
    pub entity_type: &'static str,
    pub entity_id: String,
    pub run_id: String,
    pub attempt: u32,
    pub step_index: Option<u32>,
    pub reason: String,
    /// Canonical JSON of the entity before a governance change.
    pub before: String,
    /// Canonical JSON of the entity after a governance change.
    pub after: String,
}

/// An event of this domain, ready for the outbox.
pub(crate) fn event<M: Message>(
    who: &Who,
    name: &'static str,
    about: About,
    data: &M,
    at: Micros,
) -> OutboxEvent {
    let id = new_id();
    let run_id = if about.run_id.is_empty() { who.run_id.clone() } else { about.run_id };
    let envelope = EventEnvelope {
        id: id.clone(),
        r#type: format!("policies.{name}"),
        source: "policies".to_owned(),
        subject: about.entity_id.clone(),
        time: Some(runspine_rpc::timestamp(at)),
        schema_version: "1.0.0".to_owned(),
        tenant_id: who.tenant.clone(),
        project_id: who.project_id.clone(),
        run_id,
        attempt: about.attempt,
        step_index: about.step_index,
        actor: Some(who.actor.clone()),
        entity_type: about.entity_type.to_owned(),
        entity_id: about.entity_id,
        reason: about.reason,
        correlation_id: who.correlation_id.clone(),
        causation_id: who.causation_id.clone(),
        config_digest: who.config_digest.clone(),
        sequence: 0,
        before_state: about.before,
        after_state: about.after,
        data_type: format!("runspine.policies.v1.{name}"),
        data: data.encode_to_vec().into(),
    };
    OutboxEvent { id, kind: envelope.r#type.clone(), envelope: envelope.encode_to_vec().into(), at }
}
