//! One item to append, checked and ready to become a record.

use bytes::Bytes;
use contracts_logs::v1::{Payload, RecordItem, TraceRecord, record_item, trace_record};
use runspine_errors::Violations;
use runspine_types::{Digest, Micros};

use super::{check, prose};
use crate::{bytes::encode, bytes::micros, chain};

/// Most bytes of a record.
pub const MAX_RECORD: usize = 64 * 1024;

/// Most bytes of the answer that is kept beside a record.
pub const MAX_ANSWER: usize = 16 * 1024;

/// One item, checked. What logs sets itself is not in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The reporter's key.
    pub idempotency_key: String,
    /// Digest of the caller's own request.
    pub request_digest: Option<Digest>,
    /// What the caller answers to a repeat.
    pub answer: Bytes,
    /// What identifies the content whatever key it came under.
    pub content: Digest,
    /// When it happened; `None`: now.
    pub occurred_at: Option<Micros>,
    /// The step.
    pub step_index: Option<u32>,
    /// What kind of actor reports it.
    pub actor_type: i32,
    /// Which actor.
    pub actor_id: String,
    /// Joins everything that one client call led to.
    pub correlation_id: String,
    /// What caused it.
    pub causation_id: String,
    /// What it says.
    pub body: trace_record::Body,
    /// Offered for storage; no part of the content, which has their digests.
    pub payloads: Vec<Payload>,
}

/// Checks an item and gives it its content digest; `None` after a violation was noted. `path` is where the item stands
/// in the request, e.g. `items[3]`.
pub fn item_of(item: RecordItem, path: &str, found: &mut Violations) -> Option<Item> {
    check::item(&item, path, found);
    let mut body = match item.body? {
        record_item::Body::Decision(b) => trace_record::Body::Decision(b),
        record_item::Body::Step(b) => trace_record::Body::Step(b),
        record_item::Body::Resolution(b) => trace_record::Body::Resolution(b),
        record_item::Body::Mcp(b) => trace_record::Body::Mcp(b),
        record_item::Body::Control(b) => trace_record::Body::Control(b),
        record_item::Body::Correction(b) => trace_record::Body::Correction(b),
        record_item::Body::SpanLink(b) => trace_record::Body::SpanLink(b),
    };
    prose::redact(&mut body);
    let actor = item.actor?;
    let request_digest = Digest::from_slice(&item.request_digest);
    // The record without what logs sets and without the key: two keys can carry the same content.
    let content = TraceRecord {
        step_index: item.step_index,
        occurred_at: item.occurred_at,
        actor_type: actor.r#type,
        actor_id: actor.id,
        correlation_id: item.correlation_id,
        causation_id: item.causation_id,
        body: Some(body),
        ..Default::default()
    };
    let digest = chain::content_digest(&encode(&content));
    Some(Item {
        idempotency_key: item.idempotency_key,
        request_digest,
        answer: item.answer,
        content: digest,
        occurred_at: content.occurred_at.as_ref().map(|t| micros(Some(t))),
        step_index: content.step_index,
        actor_type: content.actor_type,
        actor_id: content.actor_id,
        correlation_id: content.correlation_id,
        causation_id: content.causation_id,
        body: content.body?,
        payloads: item.payloads,
    })
}
