//! Envelopes enter the outbox with the commit of what caused them.

use contracts_common::common::v1::EventEnvelope;
use prost::Message as _;
use runspine_db::{OutboxEvent, Tx};
use runspine_types::Micros;

/// Emits events inside a write.
pub trait Emit {
    /// Publishes `envelope` when this write is durable, and never when it is not. Its `sequence` is given then.
    fn emit(&mut self, envelope: &EventEnvelope);
}

impl Emit for Tx {
    fn emit(&mut self, envelope: &EventEnvelope) {
        let time = envelope.time.unwrap_or_default();
        self.emit_raw(OutboxEvent {
            id: envelope.id.clone(),
            kind: envelope.r#type.clone(),
            envelope: envelope.encode_to_vec().into(),
            at: Micros::from_timestamp(time.seconds, time.nanos),
        });
    }
}
