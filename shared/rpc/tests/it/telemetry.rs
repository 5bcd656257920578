//! What a collector and a scraper see of the calls of a process.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{Metric, metric::Data},
    trace::v1::{Span, span::SpanKind},
};
use runspine_boot::{Deps, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Request, Response, Status};

use super::demo::{ECHO, PUT, World, call};

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    metrics: Arc<Mutex<Vec<Metric>>>,
    services: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            let attributes = resource.resource.unwrap_or_default().attributes;
            self.services.lock().unwrap().push(text(&attributes, "service.name"));
            let spans = resource.scope_spans.into_iter().flat_map(|s| s.spans);
            self.spans.lock().unwrap().extend(spans);
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_metrics.into_iter().flat_map(|r| r.scope_metrics);
        self.metrics.lock().unwrap().extend(scopes.flat_map(|s| s.metrics));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()));
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(server.serve_with_incoming(incoming));
        at
    }

    fn named(&self, name: &str) -> Vec<Span> {
        self.spans.lock().unwrap().iter().filter(|s| s.name == name).cloned().collect()
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|a| a.key == key).and_then(|a| a.value.clone()).and_then(|v| v.value);
    match found {
        Some(Value::StringValue(text)) => text,
        _ => String::new(),
    }
}

fn deps(folder: &std::path::Path, flags: &[(&str, String)]) -> Deps {
    let common = [
        ("server.listen", "127.0.0.1:0".to_owned()),
        ("store.data", folder.display().to_string()),
        ("telemetry.log", "warn".to_owned()),
    ];
    let all: Vec<_> = common.iter().chain(flags).map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
    Deps::from_settings(Settings::collect(None, std::iter::empty(), &all).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_one_trace_of_both_processes_and_the_durations_of_calls() {
    let collector = Collector::default();
    let at = collector.start().await;
    let dir = tempfile::tempdir().unwrap();
    let deps = deps(dir.path(), &[("telemetry.otlp_endpoint", format!("http://{at}"))]);
    let world = World::start_with(deps, dir).await;
    let context = world.context().for_run("0198c6f0-0000-7000-8000-000000000001");
    call(&world.remote, &context, ECHO, "").await.unwrap();
    call(&world.local, &context, ECHO, "").await.unwrap();
    call(&world.remote, &context, PUT, "fail").await.unwrap_err();
    // The drain flushes: nothing is waited for here.
    world.stop().await;

    let echoes = collector.named(ECHO);
    let of = |kind: SpanKind| echoes.iter().find(|s| s.kind() == kind).unwrap();
    let (client, server, inner) = (of(SpanKind::Client), of(SpanKind::Server), of(SpanKind::Internal));
    assert_eq!(echoes.len(), 3);
    assert_eq!(server.trace_id, client.trace_id, "one trace over two processes");
    assert_eq!(server.parent_span_id, client.span_id);
    assert!(inner.trace_id != client.trace_id && inner.parent_span_id.is_empty());
    assert_eq!(text(&server.attributes, "runspine.run_id"), context.run_id);
    assert_eq!(text(&server.attributes, "rpc.response.status_code"), "OK");
    let failed = collector.named(PUT).into_iter().find(|s| s.kind() == SpanKind::Server).unwrap();
    assert_eq!(text(&failed.attributes, "rpc.response.status_code"), "INTERNAL");
    assert_eq!(failed.status.unwrap().code, 2, "ERROR");
    assert!(collector.services.lock().unwrap().iter().all(|name| !name.is_empty()));

    let metrics = collector.metrics.lock().unwrap().clone();
    let served = metrics.iter().find(|m| m.name == "rpc.server.call.duration").unwrap();
    let Some(Data::Histogram(served)) = &served.data else { panic!("{served:?}") };
    let points = served.data_points.iter().map(|p| {
        let labels = &p.attributes;
        assert_eq!(labels.len(), 3, "no label besides system, method and code: {labels:?}");
        (text(labels, "rpc.method"), text(labels, "rpc.response.status_code"), p.count)
    });
    let mut points: Vec<_> = points.collect();
    points.sort();
    let expected = [(ECHO.to_owned(), "OK".to_owned(), 2), (PUT.to_owned(), "INTERNAL".to_owned(), 1)];
    assert_eq!(points, expected);
    assert!(metrics.iter().any(|m| m.name == "rpc.client.call.duration"));
}

#[tokio::test]
async fn a_scraper_reads_the_same_numbers_and_probes_learn_whether_the_process_is_ready() {
    let dir = tempfile::tempdir().unwrap();
    let deps = deps(dir.path(), &[("server.metrics_listen", "127.0.0.1:0".to_owned())]);
    let world = World::start_with(deps, dir).await;
    let at = world.metrics_address().unwrap();
    call(&world.remote, &world.context(), ECHO, "").await.unwrap();
    let (head, body) = get(at, "/metrics").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain"), "{head}");
    let count = body.lines().find(|l| l.starts_with("rpc_server_call_duration_seconds_count{")).unwrap();
    assert!(count.contains(&format!("rpc_method=\"{ECHO}\"")) && count.ends_with(" 1"), "{count}");
    assert!(!body.contains("tenant"), "{body}");
    runspine_testkit::eventually(Duration::from_secs(5), || async {
        get(at, "/readyz").await.0.starts_with("HTTP/1.1 200")
    })
    .await;
    assert!(get(at, "/livez").await.0.starts_with("HTTP/1.1 200"));
    assert!(get(at, "/").await.0.starts_with("HTTP/1.1 404"));
    world.stop().await;
    assert!(tokio::net::TcpStream::connect(at).await.is_err(), "nobody listens any more");
}

async fn get(at: SocketAddr, path: &str) -> (String, String) {
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}
