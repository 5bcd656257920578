//! What logs counts: each number is moved by what it is named after, and by nothing else that is done here.

use std::time::Duration;

use contracts_logs::v1::{
    self as pb, EvidenceFailureReason, EvidenceKind, capture_evidence_request::Body,
    evidence_service_client::EvidenceServiceClient, export_service_client::ExportServiceClient,
};
use opentelemetry::global;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Registry, TextEncoder};
use runspine_db::args;
use runspine_testkit::{TestStore, run, test_id, until_ok};
use runspine_types::Clock as _;

use crate::{
    payloads::harness::{LOG_PROMPT, begin, brings, erase, erasing, input},
    spans::harness as spans,
    traces::harness::{House, actor, decision, item, key, reason},
};

/// What a reader of the numbers sees.
struct Reader(Registry);

impl Reader {
    /// A reader from now on: before anything is counted.
    fn new() -> Self {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_counter_suffixes()
            .build()
            .unwrap();
        global::set_meter_provider(SdkMeterProvider::builder().with_reader(reader).build());
        runspine_telemetry::readers_exist();
        Self(registry)
    }

    /// The sum over the series of a name whose labels contain `label`; of a histogram how often it was recorded.
    fn sum(&self, name: &str, label: &str) -> f64 {
        let text = TextEncoder::new().encode_to_string(&self.0.gather()).unwrap();
        let names = [format!("runspine_logs_{name}"), format!("runspine_logs_{name}_count")];
        let of = |line: &&str| {
            let series = line.split(['{', ' ']).next().unwrap_or_default();
            names.iter().any(|name| name == series) && line.contains(label)
        };
        let value = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok());
        text.lines().filter(of).filter_map(value).sum()
    }
}

/// What is looked at from time to time, looked at now.
async fn sampled(reader: &Reader, house: &House, name: &str) -> f64 {
    runspine_logs::sample_metrics(&house.db().await, house.clock.now()).await.unwrap();
    reader.sum(name, "")
}

async fn reconcile(house: &House, number: u64) {
    let judge = pb::ReconcileRequest { key: Some(key(number, 1)), pass: pb::ReconcilePass::Check.into() };
    let judge = house.ask("AuditContractService/Reconcile", judge);
    house.contracts.clone().reconcile(judge).await.unwrap();
}

async fn fails_to_capture(house: &House) {
    let report = pb::EvidenceFailureReport {
        kind: EvidenceKind::Provider.into(),
        reason: EvidenceFailureReason::ProviderTimeout.into(),
        detail: "it did not answer".into(),
        resolution: 0,
    };
    let capture = pb::CaptureEvidenceRequest {
        run_id: run(2),
        attempt: 1,
        context: Some(pb::EvidenceContext {
            run_id: run(2),
            attempt: 1,
            source: pb::EvidenceSource::Sdk.into(),
            policy_snapshot_id: "ps-7".into(),
            actor: Some(actor()),
        }),
        request_id: test_id(60, 1),
        body: Some(Body::Failure(report)),
        ..Default::default()
    };
    let request = house.ask("EvidenceService/CaptureEvidence", capture);
    EvidenceServiceClient::new(house.way.clone()).capture_evidence(request).await.unwrap();
}

async fn export(house: &House) {
    let order = pb::CreateExportRequest {
        request_id: test_id(60, 2),
        scope: pb::ExportScope::Audit.into(),
        ..Default::default()
    };
    let mut client = ExportServiceClient::new(house.way.clone());
    let order = house.ask("ExportService/CreateExport", order);
    let export_id = client.create_export(order).await.unwrap().into_inner().export.unwrap().export_id;
    until_ok(Duration::from_secs(60), || async {
        let get = pb::GetExportRequest { export_id: export_id.clone() };
        let found = client.clone().get_export(house.ask("ExportService/GetExport", get)).await.unwrap();
        let export = found.into_inner().export.unwrap();
        if export.state() == pb::ExportState::Completed { Ok(()) } else { Err(export) }
    })
    .await;
}

/// One process, one reader: the tests of a process share its numbers, so this is one test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_number_is_moved_by_what_it_is_named_after() {
    let reader = Reader::new();
    let house = House::over(TestStore::start(runspine_db::Dialect::Sqlite).await).await;
    for silent in ["records_appended_total", "seals_total", "proofs_total", "conflicts_total"] {
        assert!(reader.sum(silent, "") < 0.5, "{silent} before anything happened");
    }
    house.sealed_run(1).await;
    let moved = |name: &str, label: &str| assert!(reader.sum(name, label) > 0.5, "{name} {label}");
    moved("records_appended_total", "body=\"DECISION\"");
    moved("records_appended_total", "body=\"STEP\"");
    moved("append_seconds", "");
    moved("group_size", "");
    moved("seals_total", "verdict=\"COMPLETE\"");
    moved("reconciliations_total", "verdict=\"COMPLETE\"");
    moved("ledger_entries_total", "type=\"logs.TraceSealed\"");

    house.advance(30_000);
    assert!(sampled(&reader, &house, "checkpoint_age_seconds").await >= 30.0);
    house.checkpoint().await;
    assert!(sampled(&reader, &house, "checkpoint_age_seconds").await < 0.5);

    assert_eq!(house.prove(1).await.overall(), pb::ProofStatus::Verified);
    moved("proofs_total", "status=\"VERIFIED\"");
    moved("proof_seconds", "");

    house.declare(2, 1).await;
    house.begin(2).await;
    assert!((sampled(&reader, &house, "contracts_open").await - 1.0).abs() < f64::EPSILON);
    assert!(sampled(&reader, &house, "contracts_overdue").await < 0.5);
    house.one(2, decision("d1", 0)).await.unwrap();
    assert!(reader.sum("duplicates_total", "") < 0.5);
    house.one(2, decision("d1", 0)).await.unwrap();
    moved("duplicates_total", "op=\"AppendRecords\"");
    let other = pb::RecordItem {
        body: decision("d2", 0).body,
        ..item("d1", Some(0), decision("d2", 0).body.unwrap())
    };
    let refused = reason(
        house.one(2, pb::RecordItem { idempotency_key: decision("d1", 0).idempotency_key, ..other }).await,
    );
    moved("conflicts_total", &format!("reason=\"{refused}\""));
    house.advance(60_000);
    assert!(sampled(&reader, &house, "contracts_overdue").await > 0.5);
    reconcile(&house, 2).await;
    moved("reconcile_seconds", "");
    moved("findings_total", "code=\"MISSING\"");
    fails_to_capture(&house).await;
    moved("evidence_failures_total", "reason=\"PROVIDER_TIMEOUT\"");

    begin(&house, 3, 0).await;
    house.one(3, brings(0, vec![input("{}")])).await.unwrap();
    moved("inspection_denied_total", "operation=\"LOG_PROMPT\"");
    begin(&house, 4, LOG_PROMPT).await;
    house.one(4, brings(0, vec![input("{\"to\":\"ada@example.com\"}")])).await.unwrap();
    moved("redactions_total", "class=\"");
    let of_run = pb::ErasePayloadsRequest { run_id: run(4), ..erasing(4) };
    erase(&house, of_run).await.unwrap();
    moved("payload_erasures_total", "");

    let watch = pb::WatchRecordsRequest { run_id: run(2), attempt: 1, ..Default::default() };
    let request = house.ask("TraceService/WatchRecords", watch);
    let stream = house.traces.clone().watch_records(request).await.unwrap();
    assert!((reader.sum("watch_streams", "") - 1.0).abs() < f64::EPSILON);
    drop(stream);
    until_ok(Duration::from_secs(60), || async {
        let open = reader.sum("watch_streams", "");
        if open < 0.5 { Ok(()) } else { Err(open) }
    })
    .await;
    let spans = |number| vec![spans::chat(number), spans::span(number + 1, vec![])];
    house.spans(2, spans(1)).await;
    moved("spans_total", "result=\"STORED\"");
    moved("spans_total", "result=\"IGNORED\"");
    assert!(reader.sum("spans_total", "DUPLICATE") < 0.5);
    house.spans(2, spans(1)).await;
    moved("spans_total", "result=\"DUPLICATE\"");
    house.spans(99, spans(3)).await;
    moved("spans_total", "result=\"REJECTED\"");
    house.spans(1, spans(5)).await;
    moved("spans_total", "result=\"LATE\"");

    export(&house).await;
    moved("export_seconds", "");

    assert!(sampled(&reader, &house, "contracts_parked").await < 0.5);
    let park = "UPDATE contract_index SET parked = 1";
    house
        .db()
        .await
        .write("by_hand", move |tx| Box::pin(async move { Ok(tx.execute(park, args![]).await?) }))
        .await
        .unwrap();
    assert!(sampled(&reader, &house, "contracts_parked").await > 0.5);
}
