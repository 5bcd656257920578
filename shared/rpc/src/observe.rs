//! The span and the duration of a served or sent call, under OpenTelemetry's conventions for RPC.

use std::time::Duration;

use http::HeaderMap;
use runspine_telemetry::{Histogram, KeyValue, continue_trace, is_read};
use tonic::Code;
use tracing::{Span, field::Empty};

use crate::Operation;

static SERVED: Histogram =
    Histogram::conventional_seconds("rpc.server.call.duration", "How long serving a call took");
static SENT: Histogram =
    Histogram::conventional_seconds("rpc.client.call.duration", "How long a call to another process took");

/// The labels of an operation, made once: names come from descriptors, so there are only so many.
#[derive(Debug, Clone)]
pub(crate) struct Labels([KeyValue; 2]);

impl Labels {
    pub fn of(operation: &str) -> Self {
        let method = KeyValue::new("rpc.method", operation.to_owned());
        Self([KeyValue::new("rpc.system.name", "grpc"), method])
    }

    fn with(&self, code: Code) -> [KeyValue; 3] {
        let [system, method] = self.0.clone();
        [system, method, KeyValue::new("rpc.response.status_code", code_name(code))]
    }
}

pub(crate) fn served(labels: &Labels, code: Code, took: Duration) {
    if is_read() {
        SERVED.record_prepared(took.as_secs_f64(), &labels.with(code));
    }
}

pub(crate) fn sent(labels: &Labels, code: Code, took: Duration) {
    if is_read() {
        SENT.record_prepared(took.as_secs_f64(), &labels.with(code));
    }
}

/// The span of a call that came over the network with these headers: a part of the trace that they tell of.
#[must_use]
pub fn arrival_span(operation: &Operation, headers: &HeaderMap) -> Span {
    let span = span(&operation.name, "server");
    continue_trace(&span, headers);
    span
}

/// The span of a call inside this process: a part of whatever is being served.
#[must_use]
pub fn inner_span(operation: &Operation) -> Span {
    span(&operation.name, "internal")
}

pub(crate) fn client_span(operation: &str) -> Span {
    span(operation, "client")
}

fn span(name: &str, kind: &'static str) -> Span {
    tracing::debug_span!(
        target: "runspine::rpc",
        "rpc",
        otel.name = name,
        otel.kind = kind,
        rpc.system.name = "grpc",
        rpc.method = name,
        rpc.response.status_code = Empty,
        otel.status_code = Empty,
        runspine.run_id = Empty,
    )
}

/// Tells the current span which run it is about: a trace may name it, a metric never does.
pub(crate) fn about(run_id: &str) {
    if !run_id.is_empty() {
        Span::current().record("runspine.run_id", run_id);
    }
}

/// Tells a span how its call ended.
pub fn ended(span: &Span, code: Code) {
    if span.is_disabled() {
        return;
    }
    span.record("rpc.response.status_code", code_name(code));
    if is_failure(code) {
        span.record("otel.status_code", "ERROR");
    }
}

/// What is the server's fault, by OpenTelemetry's conventions; the rest are answers.
fn is_failure(code: Code) -> bool {
    use Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    matches!(code, Unknown | DeadlineExceeded | Unimplemented | Internal | Unavailable | DataLoss)
}

/// The code's name in gRPC's specification.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
