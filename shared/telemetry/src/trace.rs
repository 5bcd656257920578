//! W3C trace context in the headers of calls.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use opentelemetry::{global, trace::TraceContextExt as _};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

static TRACED: AtomicBool = AtomicBool::new(false);

/// Told once by the process when its spans are exported; before that headers are neither read nor written.
pub fn tracers_exist() {
    TRACED.store(true, Ordering::Release);
}

/// Whether spans are exported.
#[must_use]
pub fn is_traced() -> bool {
    TRACED.load(Ordering::Relaxed)
}

/// Makes `span` a part of the trace that `headers` tell of, if they do. Before the span is entered for the first time.
pub fn continue_trace(span: &Span, headers: &HeaderMap) {
    if !is_traced() || span.is_disabled() {
        return;
    }
    let parent = global::get_text_map_propagator(|p| p.extract(&HeaderExtractor(headers)));
    // Without an exporter for this span there is nothing to continue.
    if parent.span().span_context().is_valid() {
        let _ = span.set_parent(parent);
    }
}

/// Tells the trace that `span` is a part of to whoever gets `headers`.
pub fn inject_trace(span: &Span, headers: &mut HeaderMap) {
    if is_traced() && !span.is_disabled() {
        let context = span.context();
        global::get_text_map_propagator(|p| p.inject_context(&context, &mut HeaderInjector(headers)));
    }
}
