//! Every operation, asked by one tenant about what is another's: it is not found, and nothing of it is told or written.

use std::{collections::BTreeSet, fmt::Debug};

use contracts_common::common::v1::AckStatus;
use contracts_logs::v1::{self as pb, check_inspection_request::Constraints};
use prost::Message;
use runspine_db::{AssertSqlSafe, Db, args};
use runspine_rpc::Registry;
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};
use tonic::{Code, Status, client::Grpc};
use tonic_prost::ProstCodec;

use crate::{
    payloads::harness::{LOG_PROMPT, begin, brings, input, refs},
    statements::exports::made,
    traces::harness::{House, actor, decision, key, sealing, start},
};

/// Operations that are not about anything that a tenant has an id of, or that make something of the caller's own.
const OWN: [&str; 23] = [
    "AuditContractService/ClaimOverdue",
    "AuditContractService/DeclareExpectations",
    "AuditContractService/GetContractBacklog",
    "CertificateService/VerifyCertificate",
    "EventService/AckEvents",
    "EventService/PullEvents",
    "EvidenceService/CaptureEvidence",
    "ExportService/AddExportPart",
    "ExportService/CheckCompleteness",
    "KeyService/ListKeys",
    "KeyService/RevokeKey",
    "KeyService/RotateKey",
    "LedgerService/AddCosignature",
    "LedgerService/AppendEntries",
    "LedgerService/CreateCheckpoint",
    "LedgerService/VerifyLedger",
    "LedgerService/WatchEntries",
    "RecordService/AppendDispatches",
    "RecordService/AppendSystemRecord",
    "RecordService/ListSystemRecords",
    "SpanService/AppendSpans",
    "SpanService/ClaimObservedRuns",
    "TraceService/StartTrace",
];

/// What stands in the answers of the tenant whose things they are.
const SECRETS: [&str; 4] = ["weather.get", "incident-7", "provider-1", "differs because"];

/// Asks as the tenant who has nothing.
struct Stranger<'a> {
    house: &'a House,
    asked: BTreeSet<String>,
}

async fn call<Q, A>(house: &House, who: u64, operation: &str, message: Q) -> Result<A, Status>
where
    Q: Message + Default + Clone + 'static,
    A: Message + Default + 'static,
{
    let request = house.ask_as(who, operation, message).map(tokio_stream::once);
    let mut grpc = Grpc::new(house.way.clone());
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = format!("/runspine.logs.v1.{operation}").parse().unwrap();
    // One message is on the wire the same for a unary call and a stream.
    let answers = grpc.streaming(request, path, ProstCodec::<Q, A>::default()).await?;
    answers.into_inner().message().await.map(Option::unwrap_or_default)
}

impl Stranger<'_> {
    /// The operation finds nothing: it says so, or its answer has nothing of the other tenant's.
    async fn asks<Q, A>(&mut self, operation: &str, message: Q)
    where
        Q: Message + Default + Clone + 'static,
        A: Message + Default + Debug + 'static,
    {
        self.asked.insert(operation.to_owned());
        match call::<Q, A>(self.house, 2, operation, message).await {
            Ok(answer) => {
                let told = answer.encode_to_vec();
                for secret in SECRETS {
                    let found = told.windows(secret.len()).any(|window| window == secret.as_bytes());
                    assert!(!found, "{operation} tells {secret}: {answer:?}");
                }
            }
            Err(status) => assert_eq!(status.code(), Code::NotFound, "{operation}: {status:?}"),
        }
    }
}

/// How many rows each append-only table has. An acknowledgement is stored in the caller's own contract of that name: of
/// contracts and of the ledger only those of the first tenant count.
async fn rows(db: &Db) -> Vec<(&'static str, i64)> {
    let mut found = Vec::new();
    for table in runspine_logs::MIGRATIONS.append_only {
        let of = match *table {
            "contract_entries" => {
                " e JOIN contract_index c ON c.contract_id = e.contract_id WHERE c.tenant_id = $1"
            }
            "ledger" => " WHERE tenant_id = $1",
            _ => " WHERE CAST($1 AS TEXT) <> ''",
        };
        let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}{of}"));
        found.push((*table, db.read().fetch_one::<(i64,)>(sql, args![tenant(1)]).await.unwrap().0));
    }
    found
}

/// What the first tenant has, by id.
struct Things {
    payload: bytes::Bytes,
    certificate: String,
    export: String,
    mismatch: String,
    replay: String,
}

async fn things(house: &House) -> Things {
    begin(house, 1, LOG_PROMPT).await;
    house.append(1, vec![decision("d0", 0)]).await.unwrap();
    house.one(1, brings(1, vec![input("question")])).await.unwrap();
    let evidence = pb::CaptureEvidenceRequest {
        run_id: run(1),
        attempt: 1,
        context: Some(pb::EvidenceContext {
            run_id: run(1),
            attempt: 1,
            source: pb::EvidenceSource::Sdk.into(),
            actor: Some(actor()),
            ..Default::default()
        }),
        request_id: test_id(9, 1),
        body: Some(pb::capture_evidence_request::Body::Provider(pb::ProviderEvidence {
            provider: "provider-1".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    let _: pb::CaptureEvidenceResponse =
        call(house, 1, "EvidenceService/CaptureEvidence", evidence).await.unwrap();
    house.settle(1, 1).await;
    house.seal(sealing(1, 1)).await.unwrap();
    let tie = pb::LinkIncidentRequest {
        run_id: run(1),
        attempt: 1,
        incident_id: "incident-7".into(),
        step_index: None,
    };
    let _: pb::LinkIncidentResponse = call(house, 1, "TraceService/LinkIncident", tie).await.unwrap();
    house.checkpoint().await;
    let certificate: pb::IssueCertificateResponse =
        call(house, 1, "CertificateService/IssueCertificate", certifying()).await.unwrap();
    let export: pb::CreateExportResponse =
        call(house, 1, "ExportService/CreateExport", exporting(1)).await.unwrap();
    // It is made behind the answer; what is counted later is counted when that is over.
    let export = made(house, &export.export.unwrap().export_id).await.export_id;
    let mismatch: pb::ReportMismatchResponse =
        call(house, 1, "MismatchService/ReportMismatch", reporting()).await.unwrap();
    let replay: pb::StartReplayResponse =
        call(house, 1, "ReplayService/StartReplay", replaying()).await.unwrap();
    Things {
        payload: refs(house, 1, 2).await.0,
        certificate: certificate.certificate.unwrap().certificate_id,
        export,
        mismatch: mismatch.mismatch.unwrap().mismatch_id,
        replay: replay.replay.unwrap().replay_id,
    }
}

fn certifying() -> pb::IssueCertificateRequest {
    pb::IssueCertificateRequest {
        request_id: test_id(20, 1),
        kind: pb::CertificateKind::RunProof.into(),
        run_id: run(1),
        ..Default::default()
    }
}

fn exporting(id: u64) -> pb::CreateExportRequest {
    pb::CreateExportRequest {
        request_id: test_id(40, id),
        scope: pb::ExportScope::Audit.into(),
        format: pb::ExportFormat::Json.into(),
        reason: "asked for by the auditor".into(),
        ..Default::default()
    }
}

fn reporting() -> pb::ReportMismatchRequest {
    pb::ReportMismatchRequest {
        request_id: test_id(30, 1),
        run_id: run(1),
        attempt: 1,
        step_index: Some(0),
        reason: "OUTPUT".into(),
        expected_digest: vec![1; 32].into(),
        actual_digest: vec![2; 32].into(),
        details: "differs because of the weather".into(),
        ..Default::default()
    }
}

fn replaying() -> pb::StartReplayRequest {
    pb::StartReplayRequest { request_id: test_id(50, 1), run_id: run(1), attempt: 1, ..Default::default() }
}

async fn traces(s: &mut Stranger<'_>) {
    let (run_id, attempt) = (run(1), 1);
    let id = || run_id.clone();
    let late = pb::AppendAddendumRequest {
        request_id: test_id(9, 7),
        run_id: id(),
        attempt,
        reason: "reported after the end".into(),
        items: vec![decision("d9", 9)],
    };
    let append = pb::AppendRecordsRequest { run_id: id(), attempt, items: vec![decision("d9", 9)] };
    let tie =
        pb::LinkIncidentRequest { run_id: id(), attempt, incident_id: "incident-8".into(), step_index: None };
    let receipt = pb::GetReceiptRequest { run_id: id(), attempt, idempotency_key: "key-d0".into() };
    let filter = pb::TraceFilter { run_ids: vec![id()], ..Default::default() };
    let list = pb::ListTracesRequest { filter: Some(filter), ..Default::default() };
    let trace = || Some(pb::ComparedTrace { run_id: id(), attempt });
    let compare = pb::CompareTracesRequest { left: trace(), right: trace() };
    let records = pb::ListRecordsRequest { run_id: id(), attempt, ..Default::default() };
    let watch = pb::WatchRecordsRequest { run_id: id(), attempt, ..Default::default() };
    s.asks::<_, pb::AppendAddendumResponse>("TraceService/AppendAddendum", late).await;
    s.asks::<_, pb::AppendRecordsResponse>("TraceService/AppendRecords", append).await;
    s.asks::<_, pb::SealTraceResponse>("TraceService/SealTrace", sealing(1, 1)).await;
    s.asks::<_, pb::LinkIncidentResponse>("TraceService/LinkIncident", tie).await;
    s.asks::<_, pb::GetReceiptResponse>("TraceService/GetReceipt", receipt).await;
    s.asks::<_, pb::GetTraceResponse>("TraceService/GetTrace", pb::GetTraceRequest { run_id: id(), attempt })
        .await;
    s.asks::<_, pb::ListTracesResponse>("TraceService/ListTraces", list).await;
    s.asks::<_, pb::ListRecordsResponse>("TraceService/ListRecords", records).await;
    s.asks::<_, pb::WatchRecordsResponse>("TraceService/WatchRecords", watch).await;
    let archive = pb::ArchiveTraceRequest { run_id: id(), attempt };
    s.asks::<_, pb::ArchiveTraceResponse>("TraceService/ArchiveTrace", archive).await;
    s.asks::<_, pb::CompareTracesResponse>("TraceService/CompareTraces", compare).await;
    let verify = pb::VerifyTraceRequest { run_id: id(), attempt };
    s.asks::<_, pb::VerifyTraceResponse>("TraceService/VerifyTrace", verify).await;
    let evidence = pb::ListEvidenceRequest { run_id: id(), attempt, ..Default::default() };
    s.asks::<_, pb::ListEvidenceResponse>("EvidenceService/ListEvidence", evidence).await;
    let grade = pb::ComputeIntegrityRequest { run_id: id(), attempt };
    s.asks::<_, pb::ComputeIntegrityResponse>("EvidenceService/ComputeIntegrity", grade).await;
    let of_run = Some(Constraints::Run(pb::InspectedRun { run_id: id(), attempt }));
    let operations = vec![pb::InspectionOperation::LogPrompt.into()];
    let check = pb::CheckInspectionRequest { constraints: of_run, operations };
    s.asks::<_, pb::CheckInspectionResponse>("InspectionService/CheckInspection", check).await;
}

async fn contracts(s: &mut Stranger<'_>) {
    let key = || Some(key(1, 1));
    let intent = pb::AppendIntentRequest {
        key: key(),
        kind: "COMPENSATION".into(),
        payload: "undone".into(),
        ..Default::default()
    };
    let ack = pb::AckSpec {
        domain: "policies".into(),
        action: "evaluate_policy".into(),
        status: AckStatus::Success.into(),
        result_id: "ev-2".into(),
        idempotency_key: "another".into(),
        ..Default::default()
    };
    let acknowledge = pb::AcknowledgeRequest { key: key(), acks: vec![ack], ..Default::default() };
    let deadline = pb::MoveDeadlineRequest {
        key: key(),
        domain: "orchestrator".into(),
        action: "finalize_run".into(),
        reason: "the run is paused".into(),
        request_id: test_id(9, 8),
        ..Default::default()
    };
    let release = pb::ReleaseClaimRequest {
        key: key(),
        fence: 1,
        drive_result: pb::DriveResult::Driven.into(),
        ..Default::default()
    };
    let reconcile = pb::ReconcileRequest { key: key(), pass: pb::ReconcilePass::Check.into() };
    let unpark = pb::UnparkContractRequest {
        key: key(),
        reason: "it can go on now".into(),
        request_id: test_id(9, 9),
    };
    let filter = pb::ContractFilter { subject_ids: vec![run(1)], ..Default::default() };
    let list = pb::ListAuditContractsRequest { filter: Some(filter), ..Default::default() };
    let name = |method: &str| format!("AuditContractService/{method}");
    s.asks::<_, pb::AppendIntentResponse>(&name("AppendIntent"), intent).await;
    s.asks::<_, pb::AcknowledgeResponse>(&name("Acknowledge"), acknowledge).await;
    s.asks::<_, pb::MoveDeadlineResponse>(&name("MoveDeadline"), deadline).await;
    s.asks::<_, pb::ReleaseClaimResponse>(&name("ReleaseClaim"), release).await;
    s.asks::<_, pb::ReconcileResponse>(&name("Reconcile"), reconcile).await;
    s.asks::<_, pb::UnparkContractResponse>(&name("UnparkContract"), unpark).await;
    let get = pb::GetAuditContractRequest { key: key() };
    s.asks::<_, pb::GetAuditContractResponse>(&name("GetAuditContract"), get).await;
    s.asks::<_, pb::ListAuditContractsResponse>(&name("ListAuditContracts"), list).await;
}

async fn ledger(s: &mut Stranger<'_>) {
    let filter = pb::LedgerFilter { run_id: run(1), ..Default::default() };
    let list = pb::ListEntriesRequest { filter: Some(filter), ..Default::default() };
    let name = |method: &str| format!("LedgerService/{method}");
    s.asks::<_, pb::ListEntriesResponse>(&name("ListEntries"), list).await;
    let entry = pb::GetEntryRequest { seq: 1, ..Default::default() };
    s.asks::<_, pb::GetEntryResponse>(&name("GetEntry"), entry).await;
    s.asks::<_, pb::GetCheckpointResponse>(&name("GetCheckpoint"), pb::GetCheckpointRequest::default()).await;
    let list = pb::ListCheckpointsRequest::default();
    s.asks::<_, pb::ListCheckpointsResponse>(&name("ListCheckpoints"), list).await;
    let inclusion = pb::GetInclusionProofRequest { seq: 1, tree_size: 1, ..Default::default() };
    s.asks::<_, pb::GetInclusionProofResponse>(&name("GetInclusionProof"), inclusion).await;
    let consistency = pb::GetConsistencyProofRequest { from_size: 1, to_size: 2, ..Default::default() };
    s.asks::<_, pb::GetConsistencyProofResponse>(&name("GetConsistencyProof"), consistency).await;
}

async fn records(s: &mut Stranger<'_>, things: &Things) {
    let filter = pb::LlmRunFilter { run_ids: vec![run(1)], ..Default::default() };
    let list = pb::ListLlmRunsRequest { filter: Some(filter), ..Default::default() };
    s.asks::<_, pb::ListLlmRunsResponse>("RecordService/ListLlmRuns", list).await;
    let get = pb::GetLlmRunRequest { run_id: run(1), attempt: 1 };
    s.asks::<_, pb::GetLlmRunResponse>("RecordService/GetLlmRun", get).await;
    let window = pb::GetReplayWindowRequest { run_id: run(1), attempt: 1, ..Default::default() };
    s.asks::<_, pb::GetReplayWindowResponse>("RecordService/GetReplayWindow", window).await;
    let filter = pb::DispatchFilter { run_id: run(1), ..Default::default() };
    let list = pb::ListDispatchesRequest { filter: Some(filter), ..Default::default() };
    s.asks::<_, pb::ListDispatchesResponse>("RecordService/ListDispatches", list).await;
    let get = pb::GetPayloadRequest { r#ref: things.payload.clone() };
    s.asks::<_, pb::GetPayloadResponse>("PayloadService/GetPayload", get).await;
    let erase = pb::ErasePayloadsRequest {
        request_id: test_id(9, 10),
        run_id: run(1),
        reason: "somebody asked for it".into(),
        ..Default::default()
    };
    s.asks::<_, pb::ErasePayloadsResponse>("PayloadService/ErasePayloads", erase).await;
    let hold = pb::SetLegalHoldRequest {
        request_id: test_id(9, 11),
        run_ids: vec![run(1)],
        hold: true,
        reason: "a case before the court".into(),
        ..Default::default()
    };
    s.asks::<_, pb::SetLegalHoldResponse>("PayloadService/SetLegalHold", hold).await;
}

async fn replays(s: &mut Stranger<'_>, things: &Things) {
    let replay_id = || things.replay.clone();
    s.asks::<_, pb::StartReplayResponse>("ReplayService/StartReplay", replaying()).await;
    let step =
        pb::CheckReplayStepsRequest { replay_id: replay_id(), step: Some(pb::ReplayedStep::default()) };
    s.asks::<_, pb::CheckReplayStepsResponse>("ReplayService/CheckReplaySteps", step).await;
    let finish = pb::FinishReplayRequest { request_id: test_id(50, 9), replay_id: replay_id() };
    s.asks::<_, pb::FinishReplayResponse>("ReplayService/FinishReplay", finish).await;
    let get = pb::GetReplayRequest { replay_id: replay_id(), ..Default::default() };
    s.asks::<_, pb::GetReplayResponse>("ReplayService/GetReplay", get).await;
    let list = pb::ListReplaysRequest { run_id: run(1), ..Default::default() };
    s.asks::<_, pb::ListReplaysResponse>("ReplayService/ListReplays", list).await;
    s.asks::<_, pb::ReportMismatchResponse>("MismatchService/ReportMismatch", reporting()).await;
    let list = pb::ListMismatchesRequest { run_id: run(1), ..Default::default() };
    s.asks::<_, pb::ListMismatchesResponse>("MismatchService/ListMismatches", list).await;
    let resolve = pb::ResolveMismatchRequest {
        request_id: test_id(30, 9),
        mismatch_id: things.mismatch.clone(),
        note: "nothing of importance".into(),
    };
    s.asks::<_, pb::ResolveMismatchResponse>("MismatchService/ResolveMismatch", resolve).await;
}

async fn statements(s: &mut Stranger<'_>, things: &Things) {
    let bundle = pb::BundleHead { run_id: run(1), ..Default::default() };
    let part = Some(pb::build_run_bundle_request::Part::Head(bundle));
    let build = pb::BuildRunBundleRequest { part };
    s.asks::<_, pb::BuildRunBundleResponse>("ExportService/BuildRunBundle", build).await;
    let report = pb::CreateExportRequest {
        scope: pb::ExportScope::Compliance.into(),
        run_id: run(1),
        attempt: 1,
        ..exporting(9)
    };
    s.asks::<_, pb::CreateExportResponse>("ExportService/CreateExport", report).await;
    let get = pb::GetExportRequest { export_id: things.export.clone() };
    s.asks::<_, pb::GetExportResponse>("ExportService/GetExport", get).await;
    s.asks::<_, pb::ListExportsResponse>("ExportService/ListExports", pb::ListExportsRequest::default())
        .await;
    let download =
        pb::DownloadExportRequest { request_id: test_id(40, 10), export_id: things.export.clone() };
    s.asks::<_, pb::DownloadExportResponse>("ExportService/DownloadExport", download).await;
    s.asks::<_, pb::IssueCertificateResponse>("CertificateService/IssueCertificate", certifying()).await;
    let get = pb::GetCertificateRequest { certificate_id: things.certificate.clone(), ..Default::default() };
    s.asks::<_, pb::GetCertificateResponse>("CertificateService/GetCertificate", get).await;
    let list = pb::ListCertificatesRequest::default();
    s.asks::<_, pb::ListCertificatesResponse>("CertificateService/ListCertificates", list).await;
    let revoke = pb::RevokeCertificateRequest {
        request_id: test_id(21, 9),
        certificate_id: things.certificate.clone(),
        reason: "it is not wanted any more".into(),
    };
    s.asks::<_, pb::RevokeCertificateResponse>("CertificateService/RevokeCertificate", revoke).await;
}

on_both_engines! {
    async fn what_is_another_tenants_is_not_found(store: TestStore) {
        let house = House::over(store).await;
        let things = things(&house).await;
        let db = house.db().await;
        let before = rows(&db).await;
        let mut stranger = Stranger { house: &house, asked: BTreeSet::new() };
        traces(&mut stranger).await;
        contracts(&mut stranger).await;
        ledger(&mut stranger).await;
        records(&mut stranger, &things).await;
        replays(&mut stranger, &things).await;
        statements(&mut stranger, &things).await;
        assert_eq!(rows(&db).await, before, "nothing was written");
        let registry = Registry::read(&[contracts_logs::DESCRIPTORS]).unwrap();
        let of_logs = registry.operations().filter_map(|o| o.name.strip_prefix("runspine.logs.v1."));
        let every: BTreeSet<String> = of_logs.map(str::to_owned).collect();
        let own: BTreeSet<String> = OWN.map(str::to_owned).into_iter().collect();
        assert!(own.is_disjoint(&stranger.asked) && own.is_subset(&every));
        let both: BTreeSet<String> = own.union(&stranger.asked).cloned().collect();
        assert_eq!(both, every, "an operation is in neither list");
        // The second tenant's own trace of the same run is another trace.
        let theirs = house.ask_as(2, "TraceService/StartTrace", start(1, 1));
        let theirs = house.traces.clone().start_trace(theirs).await.unwrap().into_inner();
        assert_ne!(theirs.trace_id, house.trace(1).await.unwrap().trace.unwrap().header.unwrap().trace_id);
    }
}
