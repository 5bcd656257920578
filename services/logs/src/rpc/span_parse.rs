//! Messages of OpenTelemetry become spans.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::{self as otlp, ResourceSpans, status::StatusCode},
};
use prost::Message;
use runspine_errors::{Fault, Violations, mesh};
use runspine_logs_domain::span::{Attributes, Span, Status, Value};
use runspine_types::Hasher;
use serde_json::Value as Json;

/// The spans of a request, in its order.
///
/// # Errors
/// FIELD_INVALID with everything that is no message.
pub(super) fn spans(encoded: &[Bytes]) -> Result<Vec<Span>, Fault> {
    let mut found = Violations::new();
    found.require(!encoded.is_empty(), "resource_spans", "FIELD_INVALID", "is not empty");
    let mut spans = Vec::new();
    for (n, bytes) in encoded.iter().enumerate() {
        match ResourceSpans::decode(bytes.clone()) {
            Ok(message) => spans.extend(of_resource(message)),
            Err(error) => found.add(format!("resource_spans[{n}]"), "FIELD_INVALID", error.to_string()),
        }
    }
    found.into_result(&mesh::FIELD_INVALID)?;
    Ok(spans)
}

fn of_resource(message: ResourceSpans) -> impl Iterator<Item = Span> {
    let resource = Arc::new(attributes(message.resource.map(|r| r.attributes).unwrap_or_default()));
    let scopes = message.scope_spans.into_iter();
    scopes.flat_map(|scope| scope.spans).map(move |span| of_span(span, Arc::clone(&resource)))
}

fn of_span(span: otlp::Span, resource: Arc<Attributes>) -> Span {
    let digest = Hasher::new("runspine.span.v1").sized(&span.encode_to_vec()).finish();
    let status = match span.status.map(|status| status.code()) {
        Some(StatusCode::Ok) => Status::Ok,
        Some(StatusCode::Error) => Status::Error,
        _ => Status::Unset,
    };
    Span {
        trace_id: span.trace_id,
        span_id: span.span_id,
        parent_id: span.parent_span_id,
        name: span.name,
        started_ns: span.start_time_unix_nano,
        ended_ns: span.end_time_unix_nano,
        status,
        attribute_count: span.attributes.len(),
        attributes: attributes(span.attributes),
        resource,
        digest,
    }
}

fn attributes(pairs: Vec<KeyValue>) -> Attributes {
    pairs.into_iter().filter_map(|pair| Some((pair.key, value(pair.value?.value?)))).collect()
}

fn value(value: any_value::Value) -> Value {
    match value {
        any_value::Value::StringValue(text) => Value::Text(text),
        any_value::Value::BoolValue(flag) => Value::Flag(flag),
        any_value::Value::IntValue(number) => Value::Whole(number),
        any_value::Value::DoubleValue(number) => Value::Real(number),
        other => Value::Json(json(other).to_string()),
    }
}

fn json(value: any_value::Value) -> Json {
    let inner = |value: AnyValue| value.value.map_or(Json::Null, json);
    match value {
        any_value::Value::StringValue(text) => Json::String(text),
        any_value::Value::BoolValue(flag) => Json::Bool(flag),
        any_value::Value::IntValue(number) => Json::from(number),
        any_value::Value::DoubleValue(number) => Json::from(number),
        any_value::Value::ArrayValue(list) => list.values.into_iter().map(inner).collect(),
        any_value::Value::KvlistValue(map) => Json::Object(
            map.values.into_iter().map(|pair| (pair.key, pair.value.map_or(Json::Null, inner))).collect(),
        ),
        any_value::Value::BytesValue(bytes) => Json::String(hex::encode(bytes)),
        // An index into a dictionary that only profiles have.
        _ => Json::Null,
    }
}
