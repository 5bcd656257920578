//! The events about traces, in their envelopes.

use bytes::Bytes;
use contracts_common::common::v1::{Actor, ActorType, CallContext, EventEnvelope};
use contracts_logs::v1 as pb;
use prost::Message;
use runspine_db::{OutboxEvent, Tx};
use runspine_logs_domain::{
    bytes::timestamp,
    trace::{Appended, Body},
};
use runspine_types::{Micros, new_id};

use crate::store::traces::TraceRef;

/// The data of an event, with the name of its message.
pub trait Event: Message {
    /// The message's name.
    const NAME: &'static str;
}

impl Event for pb::TraceStarted {
    const NAME: &'static str = "TraceStarted";
}

impl Event for pb::RecordsAppended {
    const NAME: &'static str = "RecordsAppended";
}

impl Event for pb::TraceSealed {
    const NAME: &'static str = "TraceSealed";
}

impl Event for pb::AddendumSealed {
    const NAME: &'static str = "AddendumSealed";
}

/// Which trace an event is about, and who caused it.
#[derive(Debug, Clone)]
pub struct About {
    /// The tenant.
    pub tenant_id: String,
    /// The run.
    pub run_id: String,
    /// The attempt.
    pub attempt: u32,
    /// The trace.
    pub trace_id: String,
    /// Who caused it; nobody named stands for the service itself.
    pub actor: Option<Actor>,
    /// Joins everything that one client call led to.
    pub correlation_id: String,
    /// What caused it.
    pub causation_id: String,
    /// Why it was done.
    pub reason: String,
}

impl About {
    /// A trace, changed by a call.
    pub fn call(call: &CallContext, of: &TraceRef, trace_id: &str) -> Self {
        Self {
            tenant_id: of.tenant_id.clone(),
            run_id: of.run_id.clone(),
            attempt: of.attempt,
            trace_id: trace_id.to_owned(),
            actor: call.actor.clone(),
            correlation_id: call.correlation_id.clone(),
            causation_id: call.causation_id.clone(),
            reason: String::new(),
        }
    }
}

/// Publishes an event of a trace with the commit of `tx`; gives its id.
pub fn emit<M: Event>(tx: &mut Tx, about: About, data: &M, now: Micros) -> String {
    let id = new_id();
    let kind = format!("logs.{}", M::NAME);
    let service = || Actor { r#type: ActorType::System as i32, id: "logs".to_owned() };
    let envelope = EventEnvelope {
        id: id.clone(),
        r#type: kind.clone(),
        source: "logs".to_owned(),
        subject: about.run_id.clone(),
        time: Some(timestamp(now)),
        schema_version: "1.0.0".to_owned(),
        tenant_id: about.tenant_id,
        run_id: about.run_id,
        attempt: about.attempt,
        actor: Some(about.actor.unwrap_or_else(service)),
        entity_type: "trace".to_owned(),
        entity_id: about.trace_id,
        correlation_id: about.correlation_id,
        reason: about.reason,
        causation_id: about.causation_id,
        data_type: format!("runspine.logs.v1.{}", M::NAME),
        data: Bytes::from(data.encode_to_vec()),
        ..Default::default()
    };
    tx.emit_raw(OutboxEvent { id: id.clone(), kind, envelope: envelope.encode_to_vec().into(), at: now });
    id
}

/// What a projection needs of a record; `None` for bodies that change no projection.
pub fn fact(new: &Appended, verdict: i32) -> Option<pb::RecordFact> {
    let c = &new.columns;
    let body = Body::of_number(c.body)?;
    let told = matches!(body, Body::Decision | Body::Step | Body::Resolution | Body::Correction);
    if !told {
        return None;
    }
    let decided = body == Body::Decision;
    let decision_id = if decided { &c.reference } else { &c.decision_id };
    let degraded =
        matches!(&new.record.body, Some(pb::trace_record::Body::Decision(decision)) if decision.degraded);
    Some(pb::RecordFact {
        position: new.record.position,
        body: c.body,
        step_index: c.step_index,
        kind: c.kind,
        name: c.name.to_string(),
        verdict: if decided { c.status } else { verdict },
        outcome: if decided { 0 } else { c.status },
        outcome_code: if decided { String::new() } else { c.code.to_string() },
        retry_count: if decided { 0 } else { c.retry_count },
        decision_id: decision_id.as_deref().unwrap_or_default().to_owned(),
        input_tokens: c.input_tokens,
        output_tokens: c.output_tokens,
        cost_microusd: c.cost_microusd,
        duration_us: c.duration_us,
        unauthorized: c.unauthorized,
        occurred_at: Some(timestamp(c.occurred_at)),
        gap: new.gap,
        degraded,
    })
}
