//! An unmodified exporter of OpenTelemetry sends the spans of a governed run to the door.

use std::time::{Duration, SystemTime};

use contracts_common::common::v1::StepOutcome;
use contracts_logs::v1::{ListRecordsRequest, trace_record::Body, trace_service_client::TraceServiceClient};
use contracts_spine::v1::{GetRunProofRequest, IngestSpansRequest, ProofStatus};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use runspine_e2e::{Agent, Client, Mesh, Way};
use tonic::{Code, metadata::MetadataMap};

use crate::support::{self, cost};

fn span(number: u64, agent: &Agent, attributes: Vec<KeyValue>) -> SpanData {
    let id = SpanId::from(number);
    let started = SystemTime::now();
    let trace = TraceId::from(7_u128);
    let run = KeyValue::new("runspine.run_id", agent.run_id.clone());
    SpanData {
        span_context: SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: SpanId::from(99),
        parent_span_is_remote: false,
        span_kind: SpanKind::Client,
        name: format!("span {number}").into(),
        start_time: started,
        end_time: started + Duration::from_millis(20),
        attributes: attributes.into_iter().chain([run]).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("e2e").build(),
    }
}

fn exporter(mesh: &Mesh, key: &str) -> SpanExporter {
    let mut metadata = MetadataMap::new();
    if !key.is_empty() {
        metadata.insert("authorization", key.parse().unwrap());
    }
    SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", mesh.door()))
        .with_metadata(metadata)
        .with_timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

fn traces(client: &Client) -> TraceServiceClient<Way> {
    TraceServiceClient::with_interceptor(client.channel(), client.credential())
}

async fn records(agent: &Agent, addendum: u32) -> Vec<Body> {
    let request =
        ListRecordsRequest { run_id: agent.run_id.clone(), attempt: 1, addendum, ..Default::default() };
    let page = traces(&agent.client).list_records(request).await.unwrap().into_inner();
    page.records.into_iter().filter_map(|stored| stored.record?.body).collect()
}

fn count(records: &[Body], kind: fn(&Body) -> bool) -> usize {
    records.iter().filter(|body| kind(body)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_sends_the_spans_of_a_governed_run() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    support::run_budget(&owner, 1_000_000).await;
    let agent = Agent::start(&owner).await;
    let ask = contracts_spine::v1::AuthorizeStepRequest { estimate: cost(500), ..agent.ask(0, "search") };
    let allowed = agent.authorize(ask).await.unwrap();
    let decision_id = allowed.decision.as_ref().unwrap().decision_id.clone();
    let report =
        contracts_spine::v1::RecordStepRequest { cost_microusd: Some(400), ..agent.report(&allowed) };
    agent.record(report).await.unwrap();

    let exporter = exporter(&mesh, &format!("Bearer {}", mesh.owner_key()));
    let batch = vec![
        span(
            1,
            &agent,
            vec![
                KeyValue::new("gen_ai.operation.name", "execute_tool"),
                KeyValue::new("gen_ai.tool.name", "search"),
                KeyValue::new("runspine.decision_id", decision_id),
            ],
        ),
        span(
            2,
            &agent,
            vec![
                KeyValue::new("gen_ai.operation.name", "chat"),
                KeyValue::new("gen_ai.request.model", "m-1"),
                KeyValue::new("gen_ai.usage.input_tokens", 10_i64),
            ],
        ),
        span(3, &agent, vec![KeyValue::new("http.request.method", "GET")]),
    ];
    for _ in 0..3 {
        exporter.export(batch.clone()).await.expect("the exporter is content");
    }
    let stored = records(&agent, 0).await;
    assert_eq!(
        count(&stored, |body| matches!(body, Body::Step(_))),
        2,
        "one reported, one that only a span tells of"
    );
    assert_eq!(count(&stored, |body| matches!(body, Body::SpanLink(_))), 1);
    let used = agent.view().await.unwrap();
    assert_eq!(support::budget(&agent).await.holds.len(), 0, "{used:?}");

    // The run goes on behind the step that it did not announce.
    agent.take(2, "search").await.expect("the next step");
    agent.complete(StepOutcome::Success).await.expect("the run ends");
    support::ended(&agent).await;
    let late = span(4, &agent, vec![KeyValue::new("gen_ai.operation.name", "retrieval")]);
    exporter.export(vec![late]).await.expect("a late span is taken");
    assert_eq!(records(&agent, 1).await.len(), 1);
    let request = GetRunProofRequest { run_id: agent.run_id.clone(), attempt: 0 };
    let proof = owner.runs().get_run_proof(request).await.unwrap().into_inner();
    assert_eq!((proof.overall(), proof.traces.len()), (ProofStatus::Verified, 2), "{proof:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_need_a_credential_that_may_bring_them() {
    let mesh = Mesh::all_in_one().await;
    let agent = Agent::start(&mesh.owner()).await;
    let batch = || vec![span(1, &agent, vec![KeyValue::new("gen_ai.operation.name", "chat")])];
    exporter(&mesh, "").export(batch()).await.expect_err("nobody");
    let viewer = mesh.person("vera", "VIEWER").await;
    let refused = viewer.spans().ingest_spans(IngestSpansRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(count(&records(&agent, 0).await, |body| matches!(body, Body::Step(_))), 0);
}
