//! The contract: every RPC of the spine is served, and says what is wrong with an empty request.

use std::collections::BTreeSet;

use contracts_common::common::v1::{Actor, ActorType, CallContext};
use contracts_spine::v1::{
    self as pb, evidence_capture_service_client::EvidenceCaptureServiceClient,
    governance_service_client::GovernanceServiceClient,
    incident_export_service_client::IncidentExportServiceClient,
    operation_service_client::OperationServiceClient, reconciler_service_client::ReconcilerServiceClient,
    replay_coordinator_service_client::ReplayCoordinatorServiceClient,
    run_bundle_service_client::RunBundleServiceClient, run_service_client::RunServiceClient,
    span_ingest_service_client::SpanIngestServiceClient,
};
use runspine_boot::{Deps, Service};
use runspine_rpc::{Context, Mesh, Stack, Transport};
use runspine_spine::Spine;
use runspine_types::new_id;
use tonic::{Code, Request, Status};

pub async fn domains(deps: &Deps) -> Vec<Service> {
    let s = &deps.settings;
    vec![
        runspine_activity::service(s.section("activity").unwrap(), deps).await.unwrap(),
        runspine_incidents::service(s.section("incidents").unwrap(), deps).await.unwrap(),
        runspine_policies::service(s.section("policies").unwrap(), deps).await.unwrap(),
        runspine_logs::service(s.section("logs").unwrap(), deps).await.unwrap(),
        runspine_controls::service(s.section("controls").unwrap(), deps).await.unwrap(),
    ]
}

async fn spine(deps: &Deps) -> Spine {
    let domains = domains(deps).await;
    let mesh = domains.iter().fold(Mesh::new(), |mesh, service| mesh.local(&service.stack));
    runspine_spine::service(deps.settings.section("spine").unwrap(), deps, &mesh).await.unwrap()
}

/// `message` as the door would hand it on for a person of a new tenant.
fn ask<M>(stack: &Stack, operation: &str, message: M) -> Request<M> {
    let operation = stack.registry().operation(&format!("runspine.spine.v1.{operation}")).unwrap();
    let call = CallContext {
        tenant_id: new_id(),
        actor: Some(Actor { r#type: ActorType::Human.into(), id: "ada".to_owned() }),
        roles: vec!["OWNER".to_owned()],
        correlation_id: new_id(),
        ..CallContext::default()
    };
    Context::serving(operation, call, None).request(message)
}

/// Calls RPCs with empty requests and says what came.
macro_rules! answers {
    ($stack:expr, $client:ident, $service:literal, $($method:ident: $name:literal => $message:ident),* $(,)?) => {
        vec![$({
            let operation = concat!($service, "/", $name);
            let request = ask($stack, operation, pb::$message::default());
            (operation, $client::new(Transport::local($stack)).$method(request).await.err())
        }),*]
    };
}

/// Each RPC of the descriptor set answers with something else than UNIMPLEMENTED or INTERNAL.
#[tokio::test]
async fn every_operation_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let spine = spine(&Deps::for_tests(folder.path()).unwrap()).await;
    let stack = &spine.service.stack;
    let mut served: Vec<(&str, Option<Status>)> = answers!(stack, RunServiceClient, "RunService",
        start_run: "StartRun" => StartRunRequest,
        authorize_step: "AuthorizeStep" => AuthorizeStepRequest,
        record_step: "RecordStep" => RecordStepRequest,
        renew_lease: "RenewLease" => RenewLeaseRequest,
        pause_run: "PauseRun" => PauseRunRequest,
        resume_run: "ResumeRun" => ResumeRunRequest,
        cancel_run: "CancelRun" => CancelRunRequest,
        complete_run: "CompleteRun" => CompleteRunRequest,
        get_run: "GetRun" => GetRunRequest,
        watch_run: "WatchRun" => WatchRunRequest,
        get_run_evidence: "GetRunEvidence" => GetRunEvidenceRequest,
        get_run_proof: "GetRunProof" => GetRunProofRequest,
    );
    served.extend(answers!(stack, RunBundleServiceClient, "RunBundleService",
        export_run_bundle: "ExportRunBundle" => ExportRunBundleRequest,
    ));
    served.extend(answers!(stack, GovernanceServiceClient, "GovernanceService",
        create_policy_evaluation: "CreatePolicyEvaluation" => CreatePolicyEvaluationRequest,
        emit_near_threshold_lesson: "EmitNearThresholdLesson" => EmitNearThresholdLessonRequest,
        emit_critical_success_lesson: "EmitCriticalSuccessLesson" => EmitCriticalSuccessLessonRequest,
        report_violation: "ReportViolation" => ReportViolationRequest,
    ));
    served.extend(answers!(stack, EvidenceCaptureServiceClient, "EvidenceCaptureService",
        capture: "Capture" => CaptureRequest,
    ));
    served.extend(answers!(stack, IncidentExportServiceClient, "IncidentExportService",
        export_incident: "ExportIncident" => ExportIncidentRequest,
    ));
    served.extend(answers!(stack, ReconcilerServiceClient, "ReconcilerService",
        get_reconciler_status: "GetReconcilerStatus" => GetReconcilerStatusRequest,
        drive_contract: "DriveContract" => DriveContractRequest,
    ));
    served.extend(answers!(stack, SpanIngestServiceClient, "SpanIngestService",
        ingest_spans: "IngestSpans" => IngestSpansRequest,
    ));
    served.extend(answers!(stack, OperationServiceClient, "OperationService",
        list_operations: "ListOperations" => ListOperationsRequest,
        get_operation: "GetOperation" => GetOperationRequest,
    ));
    served.extend(answers!(stack, ReplayCoordinatorServiceClient, "ReplayCoordinatorService",
        start_replay: "StartReplay" => StartReplayRequest,
        finish_replay: "FinishReplay" => FinishReplayRequest,
        get_replay: "GetReplay" => GetReplayRequest,
        list_replays: "ListReplays" => ListReplaysRequest,
    ));
    let stream = "ReplayCoordinatorService/ReplaySteps";
    let steps = tokio_stream::once(pb::ReplayStepsRequest::default());
    let mut client = ReplayCoordinatorServiceClient::new(Transport::local(stack));
    let answer = client.replay_steps(ask(stack, stream, steps)).await;
    served.push((stream, answer.unwrap().into_inner().message().await.err()));
    let stream = "RunService/GovernRun";
    let frames = tokio_stream::once(pb::GovernRunRequest::default());
    let answer = RunServiceClient::new(Transport::local(stack)).govern_run(ask(stack, stream, frames)).await;
    let first = answer.unwrap().into_inner().message().await.unwrap().unwrap();
    assert!(first.body.is_some(), "a frame is answered in a frame");
    served.push((stream, None));

    let own = stack.registry().operations().filter(|op| op.domain == "spine");
    let known: BTreeSet<String> = own.map(|op| op.name.clone()).collect();
    let called: BTreeSet<String> = served.iter().map(|(n, _)| format!("runspine.spine.v1.{n}")).collect();
    assert_eq!(known, called);
    for (operation, refusal) in served {
        let expected = match operation {
            "RunService/GovernRun"
            | "ReconcilerService/GetReconcilerStatus"
            | "SpanIngestService/IngestSpans"
            | "ReplayCoordinatorService/ListReplays"
            | "OperationService/ListOperations" => None,
            "OperationService/GetOperation" => Some(Code::NotFound),
            _ => Some(Code::InvalidArgument),
        };
        assert_eq!(refusal.map(|status| status.code()), expected, "{operation}");
    }
}
