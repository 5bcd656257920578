//! Every RPC of the spine's own services is served: asked for what exists it answers OK, asked for nothing it gives a
//! documented refusal, and the registry lists it.

use std::collections::BTreeSet;

use contracts_common::common::v1::{StepKind, StepOutcome};
use contracts_incidents::v1::ListRunIncidentsRequest;
use contracts_spine::v1::{
    CancelRunRequest, CaptureRequest, CreatePolicyEvaluationRequest, DriveContractRequest,
    EmitCriticalSuccessLessonRequest, EmitNearThresholdLessonRequest, ExportIncidentRequest,
    ExportRunBundleRequest, FinishReplayRequest, GetOperationRequest, GetReconcilerStatusRequest,
    GetReplayRequest, GetRunEvidenceRequest, GetRunProofRequest, GetRunRequest, GovernRunRequest,
    IncidentReport, IncidentReportFormat, IngestSpansRequest, LessonMetric, ListOperationsRequest,
    ListReplaysRequest, OperationFilter, PauseRunRequest, RenewLeaseRequest, ReplayStepsRequest,
    ReplayedStep, ReportViolationRequest, ReportedEvidence, ResumeRunRequest, RetrievalEvidence,
    StartReplayRequest, WatchRunRequest, capture_request,
};
use runspine_e2e::{Agent, Client, Mesh};
use runspine_types::new_id;
use tonic::{Code, Status};

use crate::support::refusal;

/// What was called, with what it answered.
#[derive(Default)]
struct Called(BTreeSet<&'static str>);

impl Called {
    fn ok<T>(&mut self, name: &'static str, answer: Result<T, Status>) -> T {
        self.0.insert(name);
        answer.unwrap_or_else(|status| panic!("{name}: {status:?}"))
    }

    /// Nothing can be asked for by an empty request, but for a list.
    fn refused<T>(&self, name: &'static str, answer: Result<T, Status>) {
        let status = answer.err().unwrap_or_else(|| panic!("{name} answers an empty request"));
        let (code, reason) = refusal(&status);
        let documented = ["FIELD_INVALID", "REQUEST_ID_REQUIRED"].contains(&reason.as_str());
        assert!(code == Code::InvalidArgument && documented, "{name}: {status:?}");
        assert!(!crate::support::fields(&status).is_empty(), "{name} names no field");
    }
}

#[tokio::test]
async fn every_rpc_of_the_spine_is_served() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let operator = mesh.person("olga", "PLATFORM_OPERATOR").await;
    let mut called = Called::default();
    runs(&owner, &mut called).await;
    replays(&owner, &mut called).await;
    incidents(&owner, &mut called).await;
    others(&owner, &operator, &mut called).await;

    let request = ListOperationsRequest {
        filter: Some(OperationFilter { domain: "spine".to_owned(), ..OperationFilter::default() }),
        page_size: 500,
        ..ListOperationsRequest::default()
    };
    let listed = called.ok("ListOperations", owner.operations().list_operations(request).await);
    let listed = listed.into_inner().operations;
    assert!(listed.iter().all(|o| o.served && o.contract.is_some()), "{listed:?}");
    let names: BTreeSet<&str> = listed.iter().filter_map(|o| o.name.rsplit(['/', '.']).next()).collect();
    assert_eq!(names, called.0, "the RPCs that are listed are those that were called");
    assert_eq!(names.len(), 30);
}

async fn runs(owner: &Client, called: &mut Called) {
    let run_id = |agent: &Agent| agent.run_id.clone();
    let started = called.ok("StartRun", owner.runs().start_run(Agent::request()).await).into_inner();
    let agent = Agent {
        run_id: started.run.as_ref().unwrap().run_id.clone(),
        fence: started.lease.as_ref().unwrap().fence,
        ..Agent::start(owner).await
    };
    let allowed = called.ok("AuthorizeStep", agent.authorize(agent.ask(0, "search")).await);
    called.ok("RecordStep", agent.record(agent.report(&allowed)).await);
    let renew = RenewLeaseRequest {
        request_id: new_id(),
        run_id: run_id(&agent),
        attempt: 1,
        fence: agent.fence,
        ..RenewLeaseRequest::default()
    };
    called.ok("RenewLease", owner.runs().renew_lease(renew).await);
    let seen = CaptureRequest {
        request_id: new_id(),
        run_id: run_id(&agent),
        body: Some(capture_request::Body::Retrieval(RetrievalEvidence {
            connector_id: "wiki".to_owned(),
            action: "query".to_owned(),
            ..RetrievalEvidence::default()
        })),
        ..CaptureRequest::default()
    };
    called.ok("Capture", owner.evidence().capture(seen).await);
    called.refused("Capture", owner.evidence().capture(CaptureRequest::default()).await);
    let pause = PauseRunRequest {
        request_id: new_id(),
        run_id: run_id(&agent),
        note: "an operator looks at it".to_owned(),
        ..PauseRunRequest::default()
    };
    called.ok("PauseRun", owner.runs().pause_run(pause).await);
    let resume = ResumeRunRequest {
        request_id: new_id(),
        run_id: run_id(&agent),
        note: "the operator has looked".to_owned(),
        ..ResumeRunRequest::default()
    };
    called.ok("ResumeRun", owner.runs().resume_run(resume).await);
    let other = Agent::start(owner).await;
    let cancel = CancelRunRequest {
        request_id: new_id(),
        run_id: run_id(&other),
        note: "nobody waits for it".to_owned(),
        ..CancelRunRequest::default()
    };
    called.ok("CancelRun", owner.runs().cancel_run(cancel).await);
    let third = Agent::start(owner).await;
    let frame = GovernRunRequest {
        frame_seq: 1,
        body: Some(contracts_spine::v1::govern_run_request::Body::Authorize(third.ask(0, "search"))),
    };
    let answers = called.ok("GovernRun", owner.runs().govern_run(tokio_stream::once(frame)).await);
    assert!(answers.into_inner().message().await.unwrap().is_some());
    let third_done = third.complete(StepOutcome::Success).await;
    called.ok("CompleteRun", third_done);
    called.ok("GetRun", third.view().await);
    let watch = WatchRunRequest { run_id: run_id(&third), from_seq: 1 };
    let events = called.ok("WatchRun", owner.runs().watch_run(watch).await);
    assert!(events.into_inner().message().await.unwrap().is_some());
    let evidence = GetRunEvidenceRequest { run_id: run_id(&third), ..Default::default() };
    called.ok("GetRunEvidence", owner.runs().get_run_evidence(evidence).await);
    let proof = GetRunProofRequest { run_id: run_id(&third), attempt: 0 };
    called.ok("GetRunProof", owner.runs().get_run_proof(proof).await);
    let drive = DriveContractRequest {
        saga: "run".to_owned(),
        subject_id: run_id(&third),
        attempt: 1,
        reason: "an operator asked for it".to_owned(),
        request_id: new_id(),
    };
    called.ok("DriveContract", owner.reconciler().drive_contract(drive).await);
    let export = ExportRunBundleRequest {
        request_id: new_id(),
        run_id: run_id(&third),
        reason: "an auditor asked for it".to_owned(),
        allow_open: false,
    };
    let pieces = called.ok("ExportRunBundle", owner.bundles().export_run_bundle(export).await);
    assert!(pieces.into_inner().message().await.unwrap().is_some());
    // An exporter with nothing to say is no mistake.
    called.ok("IngestSpans", owner.spans().ingest_spans(IngestSpansRequest::default()).await);
    governance(owner, &third.run_id, called).await;
    empty_requests(owner, called).await;
}

/// What the runtime of an agent tells of a run that has ended.
async fn governance(owner: &Client, run_id: &str, called: &mut Called) {
    let evaluation = CreatePolicyEvaluationRequest { run_id: run_id.to_owned(), attempt: 1 };
    called.ok("CreatePolicyEvaluation", owner.governance().create_policy_evaluation(evaluation).await);
    let near = EmitNearThresholdLessonRequest {
        request_id: new_id(),
        metric: LessonMetric::Cost.into(),
        utilization_permille: 900,
        threshold_value: 1_000,
        current_value: 900,
        source_event_id: "e2e-near".to_owned(),
        ..Default::default()
    };
    called.ok("EmitNearThresholdLesson", owner.governance().emit_near_threshold_lesson(near).await);
    let success = EmitCriticalSuccessLessonRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        success_kind: "cost_efficiency".to_owned(),
        metrics: [("utilization_permille".to_owned(), 100)].into(),
        source_event_id: "e2e-success".to_owned(),
        ..Default::default()
    };
    called.ok("EmitCriticalSuccessLesson", owner.governance().emit_critical_success_lesson(success).await);
    let violation = ReportViolationRequest {
        run_id: run_id.to_owned(),
        attempt: 1,
        rule_id: "sys.baseline".to_owned(),
        rule_code: "BASELINE_GRANT".to_owned(),
        kind: "PII".to_owned(),
        severity: "LOW".to_owned(),
        reason: "a name in the output".to_owned(),
        evidence: vec![ReportedEvidence {
            kind: "OUTPUT".to_owned(),
            digest: vec![7; 32].into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    called.ok("ReportViolation", owner.governance().report_violation(violation).await);
}

/// A sealed run with one step is done again.
async fn replays(owner: &Client, called: &mut Called) {
    let agent = Agent::start(owner).await;
    agent.take(0, "search").await.unwrap();
    agent.complete(StepOutcome::Success).await.unwrap();
    crate::support::ended(&agent).await;
    let start = StartReplayRequest {
        request_id: new_id(),
        run_id: agent.run_id.clone(),
        ..StartReplayRequest::default()
    };
    let started = called.ok("StartReplay", owner.replays().start_replay(start).await).into_inner();
    let replay_id = started.replay.unwrap().replay_id;
    let step = ReplayedStep {
        kind: StepKind::ToolCall.into(),
        name: "search".to_owned(),
        outcome: StepOutcome::Success.into(),
        ..ReplayedStep::default()
    };
    let report = ReplayStepsRequest {
        replay_id: replay_id.clone(),
        step: Some(step),
        ..ReplayStepsRequest::default()
    };
    let answers = called.ok("ReplaySteps", owner.replays().replay_steps(tokio_stream::once(report)).await);
    assert!(answers.into_inner().message().await.unwrap().is_some());
    let get = GetReplayRequest { replay_id: replay_id.clone(), ..GetReplayRequest::default() };
    called.ok("GetReplay", owner.replays().get_replay(get).await);
    let listed = called.ok("ListReplays", owner.replays().list_replays(ListReplaysRequest::default()).await);
    assert_eq!(listed.into_inner().replays.len(), 1);
    let finish = FinishReplayRequest { request_id: new_id(), replay_id, ..FinishReplayRequest::default() };
    called.ok("FinishReplay", owner.replays().finish_replay(finish).await);
    called.refused("StartReplay", owner.replays().start_replay(StartReplayRequest::default()).await);
    called.refused("GetReplay", owner.replays().get_replay(GetReplayRequest::default()).await);
    called.refused("FinishReplay", owner.replays().finish_replay(FinishReplayRequest::default()).await);
}

/// A run fails, and its incident is ordered as a report.
async fn incidents(owner: &Client, called: &mut Called) {
    let agent = Agent::start(owner).await;
    agent.complete(StepOutcome::Failure).await.unwrap();
    crate::support::ended(&agent).await;
    let list = ListRunIncidentsRequest { run_id: agent.run_id.clone() };
    let found = owner.incidents().list_run_incidents(list).await.unwrap().into_inner();
    let order = ExportIncidentRequest {
        request_id: new_id(),
        incident_id: found.incidents[0].incident_id.clone(),
        report: IncidentReport::Soc2.into(),
        format: IncidentReportFormat::Zip.into(),
        reason: "asked for by the auditor".to_owned(),
    };
    called.ok("ExportIncident", owner.incident_reports().export_incident(order).await);
    let empty = ExportIncidentRequest::default();
    called.refused("ExportIncident", owner.incident_reports().export_incident(empty).await);
}

async fn empty_requests(owner: &Client, called: &Called) {
    let empty = ReportViolationRequest::default();
    called.refused("ReportViolation", owner.governance().report_violation(empty).await);
    let mut runs = owner.runs();
    called.refused("StartRun", runs.start_run(contracts_spine::v1::StartRunRequest::default()).await);
    called.refused(
        "AuthorizeStep",
        runs.authorize_step(contracts_spine::v1::AuthorizeStepRequest::default()).await,
    );
    called.refused("RecordStep", runs.record_step(contracts_spine::v1::RecordStepRequest::default()).await);
    called.refused("RenewLease", runs.renew_lease(RenewLeaseRequest::default()).await);
    called.refused("PauseRun", runs.pause_run(PauseRunRequest::default()).await);
    called.refused("ResumeRun", runs.resume_run(ResumeRunRequest::default()).await);
    called.refused("CancelRun", runs.cancel_run(CancelRunRequest::default()).await);
    called
        .refused("CompleteRun", runs.complete_run(contracts_spine::v1::CompleteRunRequest::default()).await);
    called.refused("GetRun", runs.get_run(GetRunRequest::default()).await);
    called.refused("WatchRun", runs.watch_run(WatchRunRequest::default()).await);
    called.refused("GetRunEvidence", runs.get_run_evidence(GetRunEvidenceRequest::default()).await);
    called.refused("GetRunProof", runs.get_run_proof(GetRunProofRequest::default()).await);
    called.refused("DriveContract", owner.reconciler().drive_contract(DriveContractRequest::default()).await);
    called.refused(
        "ExportRunBundle",
        owner.bundles().export_run_bundle(ExportRunBundleRequest::default()).await,
    );
}

async fn others(owner: &Client, operator: &Client, called: &mut Called) {
    let name = "runspine.spine.v1.RunService/StartRun".to_owned();
    let got = called.ok("GetOperation", owner.operations().get_operation(GetOperationRequest { name }).await);
    let operation = got.into_inner().operation.unwrap();
    assert_eq!(operation.contract.unwrap().permission, "runs.execute");
    let unknown = GetOperationRequest { name: "runspine.spine.v1.RunService/Nothing".to_owned() };
    let status = owner.operations().get_operation(unknown).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::NotFound, "OPERATION_NOT_FOUND".to_owned()));
    called.ok(
        "GetReconcilerStatus",
        operator.reconciler().get_reconciler_status(GetReconcilerStatusRequest {}).await,
    );
}
