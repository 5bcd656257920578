//! Runs that nobody started: a span begins them, and quiet ends them.

use std::sync::Arc;

use contracts_common::common::v1::{GovernanceProfile, RunSource};
use contracts_logs::v1::{ListRecordsRequest, ListRecordsResponse, PriceTable, trace_record::Body};
use contracts_spine::v1::{IngestSpansRequest, IngestSpansResponse, RunAttempt};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status as SpanStatus, status::StatusCode},
};
use prost::Message as _;
use runspine_types::{FixedClock, Micros};

use super::*;

const INGEST: &str = "spine.v1.SpanIngestService/IngestSpans";

fn text(name: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: name.to_owned(), value, ..Default::default() }
}

/// The call of a model in a run.
fn span(run_id: &str, number: u64) -> Span {
    Span {
        trace_id: vec![7; 16],
        span_id: number.to_be_bytes().to_vec(),
        parent_span_id: vec![9; 8],
        name: "a call".to_owned(),
        start_time_unix_nano: 1_767_323_045_000_000_000 + number,
        end_time_unix_nano: 1_767_323_045_200_000_000 + number,
        attributes: vec![
            text("runspine.run_id", run_id),
            text("gen_ai.operation.name", "chat"),
            text("gen_ai.agent.name", "seller"),
        ],
        ..Span::default()
    }
}

fn request(spans: Vec<Span>) -> IngestSpansRequest {
    let spans = ResourceSpans {
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    IngestSpansRequest { resource_spans: vec![spans.encode_to_vec().into()] }
}

async fn records(house: &House, run_id: &str) -> Vec<Body> {
    let list = ListRecordsRequest { run_id: run_id.to_owned(), attempt: 1, ..Default::default() };
    let page: ListRecordsResponse = house.ask("logs.v1.TraceService/ListRecords", list).await;
    page.records.into_iter().filter_map(|stored| stored.record?.body).collect()
}

async fn only(house: &House, run_id: &str) -> RunAttempt {
    house.get(run_id).await.attempts.remove(0)
}

impl Saga for Observed {
    type Subject = String;
    const CALLS: usize = 10;

    async fn before(_house: &House) -> String {
        new_id()
    }

    async fn drive(kernel: &Kernel, context: &Context, run_id: &String) -> Result<(), String> {
        // Each run has its own spans.
        let mut span = span(run_id, 1);
        span.trace_id = run_id.bytes().filter(|b| *b != b'-').take(16).collect();
        let done = kernel
            .ingest_spans(context, request(vec![span]), &PriceTable::default())
            .await
            .map_err(|s| s.to_string())?;
        if done.stored + done.duplicates == 1 { Ok(()) } else { Err(format!("{done:?}")) }
    }

    async fn check(house: &House, run_id: &String) {
        let run = house.get(run_id).await.run.unwrap();
        assert_eq!((run.phase(), run.status()), (RunPhase::Executing, RunStatus::Running));
        assert_eq!(only(house, run_id).await.attempt, 1);
        let contract = house.contract("run", run_id, 1).await;
        assert_eq!((contract.expectations.len(), contract.state()), (6, ContractState::Open));
        let stored = records(house, run_id).await;
        let steps =
            stored.iter().filter(|body| matches!(body, Body::Step(step) if step.unauthorized)).count();
        let decisions = stored.iter().filter(|body| matches!(body, Body::Decision(_))).count();
        assert_eq!((steps, decisions), (1, 1), "{stored:?}");
    }
}

/// From the first span to the seal, whatever replica looks after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observed_run_ends_when_it_is_quiet() {
    let clock = Arc::new(FixedClock::at(Micros(1_767_323_045_000_000)));
    let house = House::with_clock(clock.clone()).await;
    let (good, bad, rootless) = (new_id(), new_id(), new_id());
    let root = |run_id: &str, code: StatusCode| Span {
        parent_span_id: Vec::new(),
        status: Some(SpanStatus { code: code.into(), message: String::new() }),
        attributes: vec![text("runspine.run_id", run_id)],
        ..span(run_id, 100)
    };
    let of =
        |trace: u8, spans: Vec<Span>| spans.into_iter().map(move |s| Span { trace_id: vec![trace; 16], ..s });
    let spans = of(1, vec![span(&good, 1), root(&good, StatusCode::Unset)])
        .chain(of(2, vec![span(&bad, 1), root(&bad, StatusCode::Error)]))
        .chain(of(3, vec![span(&rootless, 1)]));
    let stored: IngestSpansResponse = house.ask(INGEST, request(spans.collect())).await;
    assert_eq!((stored.stored, stored.rejected.len()), (5, 0), "{stored:?}");
    let run = house.get(&good).await.run.unwrap();
    assert_eq!((run.agent_id.as_str(), run.source()), ("seller", RunSource::Otlp));
    assert_eq!(run.profile(), GovernanceProfile::ObserveOnly);

    for seconds in [61, 39, 100, 100, 100, 100] {
        clock.advance(Duration::from_secs(seconds));
        // Two replicas look at once.
        let (one, other) = (house.reconciler(), house.reconciler());
        tokio::join!(one.pass(), other.pass());
    }
    let ended = only(&house, &good).await;
    assert_eq!((ended.phase(), ended.status()), (RunPhase::Completed, RunStatus::Succeeded));
    let failed = house.get(&bad).await.run.unwrap();
    assert_eq!((failed.status(), failed.error_code.as_str()), (RunStatus::Failed, "FAILURE"));
    assert_eq!(incidents(&house, &bad, TriggerType::RunFailure).await.len(), 1);
    assert_eq!(incidents(&house, &good, TriggerType::RunFailure).await.len(), 0);
    for run_id in [&good, &bad] {
        let contract = house.contract("run", run_id, 1).await;
        assert_eq!(
            (contract.state(), contract.audit_status()),
            (ContractState::Closed, AuditStatus::Complete)
        );
        let settled = contract.acks.iter().find(|ack| ack.action == "settle_budget").unwrap();
        assert_eq!(settled.status(), AckStatus::NotApplicable, "nothing was held");
    }
    // 500 s without a span: longer than a lease lives, and the run does.
    assert_eq!(only(&house, &rootless).await.status(), RunStatus::Running);
    for _ in 0..4 {
        clock.advance(Duration::from_secs(100));
        house.reconciler().pass().await;
    }
    assert_eq!(
        only(&house, &rootless).await.status(),
        RunStatus::Succeeded,
        "15 minutes after its last span"
    );
}
