//! What can be done before the writer's turn: the traces are found, inputs and outputs digested and made ready.

use std::collections::{BTreeMap, HashMap};

use super::{Entry, Taken, assign::is_observed};
use crate::{
    app::{App, payloads::offer::Offered},
    store::{
        payloads,
        traces::{self, TraceRef},
    },
};
use bytes::Bytes;
use contracts_common::common::v1::CallContext;
use contracts_logs::v1::{Payload, PayloadDirection, RecordItem, SpanLink, Step, record_item};
use runspine_errors::{Fault, Violations};
use runspine_logs_domain::{
    bytes::timestamp,
    chain,
    span::{Content, Span},
    trace::{Item, item_of},
};
use runspine_types::Digest;

/// The attempts that spans of one request name.
pub(super) struct Found<'a> {
    app: &'a App,
    tenant_id: &'a str,
    known: HashMap<(String, u32), Option<Trace>>,
}

/// The trace of an attempt.
#[derive(Clone)]
pub(super) struct Trace {
    pub(super) of: TraceRef,
    /// Whether the run exists only as spans.
    pub(super) observed: bool,
    /// Whether nothing is on it.
    pub(super) empty: bool,
}

impl<'a> Found<'a> {
    pub(super) fn new(app: &'a App, tenant_id: &'a str) -> Self {
        Self { app, tenant_id, known: HashMap::new() }
    }

    /// The attempt of a run, 0 for the latest; `None` when the tenant has no trace of it.
    pub(super) async fn attempt(&mut self, run_id: &str, attempt: u32) -> Result<Option<Trace>, Fault> {
        let key = (run_id.to_owned(), attempt);
        if let Some(found) = self.known.get(&key) {
            return Ok(found.clone());
        }
        let row = traces::one(self.app.db.read(), self.tenant_id, run_id, attempt, 0).await?;
        let found = row.map(|row| Trace {
            observed: is_observed(row.source),
            empty: row.record_count == 0,
            of: TraceRef { tenant_id: row.tenant_id, run_id: row.run_id, attempt: row.attempt },
        });
        self.known.insert(key, found.clone());
        Ok(found)
    }
}

/// A span that is ready to be stored.
pub(super) struct Prepared {
    pub(super) span: Span,
    pub(super) of: TraceRef,
    /// The step that it would be; none: it only holds others together.
    pub(super) draft: Option<Draft>,
}

/// The record of a span, but for its place.
pub(super) struct Draft {
    record: RecordItem,
    /// The step.
    pub(super) step: Step,
    /// References of the payloads that are kept.
    refs: (Bytes, Bytes),
    /// What becomes of its payloads.
    pub(super) offered: Offered,
    /// The table of prices that its cost was estimated by.
    pub(super) priced: Option<Digest>,
}

impl Draft {
    /// The item of a step at `step_index`, under a decision or none.
    pub(super) fn step(&self, step_index: u32, decision: Option<(&str, i32)>) -> Result<Item, Fault> {
        let (decision_id, verdict) = decision.unwrap_or_default();
        let decision_id = decision_id.to_owned();
        let body = record_item::Body::Step(Step { decision_id, verdict, ..self.step.clone() });
        let mut item = self.item(step_index, body)?;
        if let contracts_logs::v1::trace_record::Body::Step(step) = &mut item.body {
            (step.input_ref, step.output_ref) = self.refs.clone();
        }
        Ok(item)
    }

    /// The item of a link to the step at `step_index`, recorded at `position`.
    pub(super) fn link(
        &self,
        span: &Span,
        (step_index, step_position): (u32, u64),
        disagrees: bool,
    ) -> Result<Item, Fault> {
        let link = SpanLink {
            external_ref: span.external_ref(),
            parent_external_ref: span.parent_ref(),
            step_position,
            attributes_digest: span.attributes.digest().to_vec().into(),
            disagrees,
        };
        self.item(step_index, record_item::Body::SpanLink(link))
    }

    fn item(&self, step_index: u32, body: record_item::Body) -> Result<Item, Fault> {
        checked(RecordItem { step_index: Some(step_index), body: Some(body), ..self.record.clone() })
    }
}

fn checked(record: RecordItem) -> Result<Item, Fault> {
    let mut found = Violations::new();
    let item = item_of(record, "span", &mut found);
    found.into_result(&runspine_errors::mesh::FIELD_INVALID)?;
    item.ok_or_else(|| Fault::new(&runspine_errors::mesh::FIELD_INVALID, "the span makes no record"))
}

impl App {
    /// Makes spans ready, trace by trace.
    ///
    /// # Errors
    /// When the store can't be read.
    pub(super) async fn prepare(
        &self,
        call: &CallContext,
        entries: Vec<Entry>,
        taken: &mut Taken,
    ) -> Result<Vec<Prepared>, Fault> {
        let mut by_trace: BTreeMap<TraceRef, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            by_trace.entry(entry.of.clone()).or_default().push(entry);
        }
        let mut prepared = Vec::new();
        for (of, entries) in by_trace {
            let secrets = payloads::secrets(self.db.read(), &of.tenant_id, &of.run_id).await?;
            let salt = secrets.and_then(|secrets| secrets.digest_salt);
            let (mut drafts, mut items) = (Vec::new(), Vec::new());
            for entry in entries {
                let Some(described) = entry.described else {
                    prepared.push(Prepared { span: entry.span, of: of.clone(), draft: None });
                    continue;
                };
                let (content, priced) = (described.content, described.priced);
                let step = digested(described.step, &content, salt.as_deref());
                let record = record(call, &entry.span);
                let offered = RecordItem {
                    step_index: Some(0),
                    payloads: offer(content),
                    body: Some(record_item::Body::Step(step.clone())),
                    ..record.clone()
                };
                match checked(offered) {
                    Ok(item) => {
                        items.push(item);
                        drafts.push((entry.span, record, step, priced));
                    }
                    Err(fault) => taken.reject(&entry.span, fault.reason().name),
                }
            }
            let offered = self.offer(&of, &mut items).await?;
            for (n, ((span, record, step, priced), item)) in drafts.into_iter().zip(items).enumerate() {
                let refs = match item.body {
                    contracts_logs::v1::trace_record::Body::Step(s) => (s.input_ref, s.output_ref),
                    _ => Default::default(),
                };
                let offered = offered.get(n).cloned().unwrap_or_default();
                let draft = Some(Draft { record, step, refs, offered, priced });
                prepared.push(Prepared { span, of: of.clone(), draft });
            }
        }
        Ok(prepared)
    }
}

/// All of a span's record but its place and its body. The span's digest makes a repeat of it one, whatever else its
/// request says.
fn record(call: &CallContext, span: &Span) -> RecordItem {
    RecordItem {
        idempotency_key: format!("otlp/{}", span.external_ref()),
        occurred_at: Some(timestamp(span.ended_at())),
        actor: call.actor.clone(),
        correlation_id: call.correlation_id.clone(),
        causation_id: call.causation_id.clone(),
        request_digest: span.digest.to_vec().into(),
        ..RecordItem::default()
    }
}

/// Its input and output as digests; none once the run's salt was erased.
fn digested(step: Step, content: &Content, salt: Option<&[u8]>) -> Step {
    let salted = |text: &Option<String>| {
        let digest = salt.zip(text.as_ref()).map(|(salt, text)| chain::payload_digest(salt, text.as_bytes()));
        digest.map(|digest| Bytes::copy_from_slice(digest.as_bytes())).unwrap_or_default()
    };
    Step { input_digest: salted(&content.input), output_digest: salted(&content.output), ..step }
}

fn offer(content: Content) -> Vec<Payload> {
    let sides = [(PayloadDirection::Input, content.input), (PayloadDirection::Output, content.output)];
    let payload = |(direction, text): (PayloadDirection, Option<String>)| {
        Some(Payload {
            direction: direction.into(),
            media_type: "text/plain".to_owned(),
            content: text?.into_bytes().into(),
            subject: String::new(),
        })
    };
    sides.into_iter().filter_map(payload).collect()
}
