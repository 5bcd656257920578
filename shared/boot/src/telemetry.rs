//! What this process tells of itself: logs to standard error, and spans and metrics to whoever reads them.

use std::{io::IsTerminal, sync::OnceLock};

use opentelemetry::{KeyValue, global, trace::TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    metrics::SdkMeterProvider,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use serde::{Deserialize, Serialize};
use tracing::Level;
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt as _, registry::Registry,
    util::SubscriberInitExt as _,
};

use crate::BootError;

/// The section `telemetry`. The standard variables of OpenTelemetry (`OTEL_EXPORTER_OTLP_…`, `OTEL_TRACES_SAMPLER`,
/// `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_RESOURCE_ATTRIBUTES`, …) hold beside it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// What is logged, e.g. `info` or `info,runspine::rpc=debug`. Default `info`.
    pub log: String,
    /// `text` (default) or `json`.
    pub format: String,
    /// Where spans and metrics go by OTLP over gRPC, e.g. `http://localhost:4317`. Empty (default): where
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` says, or nowhere.
    pub otlp_endpoint: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: "text".to_owned(), otlp_endpoint: String::new() }
    }
}

/// Variables that each ask for an export.
const ENDPOINTS: [&str; 3] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
];

static STARTED: OnceLock<Telemetry> = OnceLock::new();

/// The exporters of this process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Telemetry {
    spans: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    scraped: Option<prometheus::Registry>,
}

impl Telemetry {
    /// Sends what was not sent yet. A collector that is away costs its timeout, never more.
    pub async fn flush(&self) {
        let this = self.clone();
        // The SDK waits for its own threads.
        let flushed = tokio::task::spawn_blocking(move || {
            let spans = this.spans.map(|p| p.force_flush());
            let metrics = this.metrics.map(|p| p.force_flush());
            [spans, metrics].into_iter().flatten().filter_map(Result::err).for_each(|error| {
                tracing::warn!(%error, "telemetry was lost at the end");
            });
        });
        if flushed.await.is_err() {
            tracing::error!("the telemetry could not be flushed");
        }
    }

    /// What a scrape reads, when the process has a metrics listener.
    pub(crate) fn scraped(&self) -> Option<prometheus::Registry> {
        self.scraped.clone()
    }
}

/// Starts logging and exporting. A second start in one process, as in tests, keeps the first.
pub(crate) fn init(config: &TelemetryConfig, scraped: bool) -> Result<Telemetry, BootError> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|e| BootError::config("telemetry.log", "CONFIG_OUT_OF_RANGE", e.to_string()))?;
    let log = log_layer(&config.format)?;
    if let Some(first) = STARTED.get() {
        return Ok(first.clone());
    }
    let telemetry = exporters(config, scraped)?;
    let subscriber = match &telemetry.spans {
        // One filter before everything: what nobody logs costs nothing.
        None => tracing_subscriber::registry().with(filter.and_then(log).boxed()).try_init(),
        Some(spans) => {
            let layers = vec![log.with_filter(filter).boxed(), span_layer(spans.tracer("runspine"))];
            tracing_subscriber::registry().with(layers).try_init()
        }
    };
    if let Err(kept) = subscriber {
        tracing::debug!(%kept, "logging was started before");
    }
    Ok(STARTED.get_or_init(|| telemetry).clone())
}

fn log_layer(format: &str) -> Result<Box<dyn Layer<Registry> + Send + Sync>, BootError> {
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        "text" => Ok(layer.boxed()),
        "json" => Ok(layer.json().flatten_event(true).boxed()),
        other => {
            let text = format!("{other:?} is neither text nor json");
            Err(BootError::config("telemetry.format", "CONFIG_OUT_OF_RANGE", text))
        }
    }
}

/// The mesh's own spans, whatever is logged; of events only what went wrong in them.
fn span_layer(tracer: SdkTracer) -> Box<dyn Layer<Registry> + Send + Sync> {
    let ours =
        filter_fn(|of| of.target().starts_with("runspine") && (of.is_span() || *of.level() <= Level::WARN));
    let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
    layer.with_filter(ours).boxed()
}

fn exporters(config: &TelemetryConfig, scraped: bool) -> Result<Telemetry, BootError> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let disabled = std::env::var("OTEL_SDK_DISABLED").is_ok_and(|v| v.eq_ignore_ascii_case("true"));
    let exported =
        !disabled && (!config.otlp_endpoint.is_empty() || ENDPOINTS.iter().any(|name| is_set(name)));
    let mut telemetry = Telemetry::default();
    let mut metrics = SdkMeterProvider::builder().with_resource(resource());
    if exported {
        // The exporters' channels live on the runtime that they are made on.
        tokio::runtime::Handle::try_current()
            .map_err(|e| BootError::system("telemetry is exported by a runtime", std::io::Error::other(e)))?;
        let (spans, numbers) = otlp(&config.otlp_endpoint)?;
        telemetry.spans =
            Some(SdkTracerProvider::builder().with_resource(resource()).with_batch_exporter(spans).build());
        metrics = metrics.with_periodic_exporter(numbers);
    }
    if scraped {
        let registry = prometheus::Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            // The names say it themselves: they are the same here and over OTLP.
            .without_counter_suffixes()
            .build();
        metrics = metrics.with_reader(reader.map_err(|e| unfit("server.metrics_listen", &e))?);
        telemetry.scraped = Some(registry);
    }
    if exported || scraped {
        let provider = metrics.build();
        global::set_meter_provider(provider.clone());
        telemetry.metrics = Some(provider);
        runspine_telemetry::readers_exist();
    }
    if let Some(spans) = &telemetry.spans {
        global::set_tracer_provider(spans.clone());
        global::set_text_map_propagator(TraceContextPropagator::new());
        runspine_telemetry::tracers_exist();
    }
    Ok(telemetry)
}

fn otlp(endpoint: &str) -> Result<(SpanExporter, MetricExporter), BootError> {
    let (mut spans, mut metrics) =
        (SpanExporter::builder().with_tonic(), MetricExporter::builder().with_tonic());
    if !endpoint.is_empty() {
        (spans, metrics) = (spans.with_endpoint(endpoint), metrics.with_endpoint(endpoint));
    }
    let key = "telemetry.otlp_endpoint";
    Ok((spans.build().map_err(|e| unfit(key, &e))?, metrics.build().map_err(|e| unfit(key, &e))?))
}

/// The process under the name of its binary, unless `OTEL_SERVICE_NAME` says another.
fn resource() -> Resource {
    let builder =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if std::env::var_os("OTEL_SERVICE_NAME").is_some() {
        return builder.build();
    }
    let binary = std::env::current_exe().ok();
    let name =
        binary.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
    builder.with_service_name(name.unwrap_or_else(|| "runspine".to_owned())).build()
}

fn unfit(key: &str, what: &dyn std::fmt::Display) -> BootError {
    BootError::config(key, "CONFIG_OUT_OF_RANGE", what.to_string())
}
