//! Spans as an exporter sends them.

use contracts_logs::v1::{self as pb, span_service_client::SpanServiceClient};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, status::StatusCode},
};
use prost::Message;
use runspine_testkit::run;

use crate::traces::harness::{Answer, House, START};

pub const INGEST: &str = "SpanService/AppendSpans";

pub fn text(name: &str, value: &str) -> KeyValue {
    attribute(name, Value::StringValue(value.to_owned()))
}

pub fn whole(name: &str, value: i64) -> KeyValue {
    attribute(name, Value::IntValue(value))
}

pub fn attribute(name: &str, value: Value) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

/// The `number`th span under a root, a second after the one before, 0.25 s long.
pub fn span(number: u64, attributes: Vec<KeyValue>) -> Span {
    let began = u64::try_from(START.0).unwrap() * 1_000 + number * 1_000_000_000;
    Span {
        trace_id: vec![7; 16],
        span_id: number.to_be_bytes().to_vec(),
        parent_span_id: vec![9; 8],
        name: format!("span {number}"),
        start_time_unix_nano: began,
        end_time_unix_nano: began + 250_000_000,
        attributes,
        ..Span::default()
    }
}

/// A call of a model.
pub fn chat(number: u64) -> Span {
    span(
        number,
        vec![
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.request.model", "m-1"),
            whole("gen_ai.usage.input_tokens", 10),
            whole("gen_ai.usage.output_tokens", 5),
        ],
    )
}

/// A call of a tool.
pub fn tool(number: u64, name: &str) -> Span {
    span(number, vec![text("gen_ai.operation.name", "execute_tool"), text("gen_ai.tool.name", name)])
}

/// The same with more to say.
pub fn with(mut span: Span, more: impl IntoIterator<Item = KeyValue>) -> Span {
    span.attributes.extend(more);
    span
}

pub fn failed(mut span: Span) -> Span {
    span.status = Some(Status { code: StatusCode::Error.into(), message: String::new() });
    span
}

/// The request that hands `spans` over for a run.
pub fn request(number: u64, spans: Vec<Span>) -> pb::AppendSpansRequest {
    let resource = ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("runspine.run_id", &run(number)), text("service.name", "agent")],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    pb::AppendSpansRequest { resource_spans: vec![resource.encode_to_vec().into()], ..Default::default() }
}

impl House {
    pub async fn spans(&self, number: u64, spans: Vec<Span>) -> pb::AppendSpansResponse {
        self.ingest(1, request(number, spans)).await.unwrap()
    }

    pub async fn ingest(&self, who: u64, request: pb::AppendSpansRequest) -> Answer<pb::AppendSpansResponse> {
        let request = self.ask_as(who, INGEST, request);
        SpanServiceClient::new(self.way.clone()).append_spans(request).await.map(|r| r.into_inner())
    }

    /// All records of a run's first attempt, in order.
    pub async fn of_run(&self, number: u64) -> Vec<pb::TraceRecord> {
        let request = pb::ListRecordsRequest {
            run_id: run(number),
            attempt: 1,
            page_size: 1_000,
            ..Default::default()
        };
        let page = self.records(request).await.unwrap();
        page.records.into_iter().map(|stored| stored.record.unwrap()).collect()
    }

    /// The steps of a run's first attempt.
    pub async fn steps(&self, number: u64) -> Vec<(u32, pb::Step)> {
        let step = |record: pb::TraceRecord| match record.body {
            Some(pb::trace_record::Body::Step(step)) => Some((record.step_index.unwrap(), step)),
            _ => None,
        };
        self.of_run(number).await.into_iter().filter_map(step).collect()
    }

    /// The links of a run's first attempt.
    pub async fn links(&self, number: u64) -> Vec<(u32, pb::SpanLink)> {
        let link = |record: pb::TraceRecord| match record.body {
            Some(pb::trace_record::Body::SpanLink(link)) => Some((record.step_index.unwrap(), link)),
            _ => None,
        };
        self.of_run(number).await.into_iter().filter_map(link).collect()
    }
}

/// Stored, duplicates, late, ignored.
pub fn counts(done: &pb::AppendSpansResponse) -> (u64, u64, u64, u64) {
    (done.stored, done.duplicates, done.late, done.ignored)
}

/// The reasons of refusals, by span.
pub fn refusals(done: &pb::AppendSpansResponse) -> Vec<(u64, &str)> {
    let number = |id: &str| u64::from_str_radix(id, 16).unwrap_or(0);
    done.rejected.iter().map(|span| (number(&span.span_id), span.reason.as_str())).collect()
}
