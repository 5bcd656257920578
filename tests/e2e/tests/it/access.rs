//! Who may call what.

use contracts_activity::v1::{GetRunStateRequest, run_store_service_client::RunStoreServiceClient};
use contracts_common::common::v1::StepOutcome;
use contracts_spine::v1::{
    GetReconcilerStatusRequest, GetRunEvidenceRequest, GetRunProofRequest, GetRunRequest,
    ListOperationsRequest, WatchRunRequest,
};
use runspine_e2e::{Agent, Mesh, Shape};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::refusal;

#[tokio::test]
async fn a_client_reaches_no_mesh_operation() {
    for shape in [Shape::AllInOne, Shape::Separate] {
        let mesh = Mesh::start(shape).await;
        let owner = mesh.owner();
        let mut store = RunStoreServiceClient::with_interceptor(owner.channel(), owner.credential());
        let status = store.get_run_state(GetRunStateRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }
}

#[tokio::test]
async fn a_domain_of_its_own_serves_nobody_but_the_spine() {
    let mut mesh = Mesh::start(Shape::Separate).await;
    let address = mesh.process("runspine-activity").address();
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let owner = mesh.owner();
    let mut store = RunStoreServiceClient::with_interceptor(channel, owner.credential());
    let status = store.get_run_state(GetRunStateRequest::default()).await.unwrap_err();
    assert!(matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated), "{status:?}");
}

#[tokio::test]
async fn without_a_key_only_health_and_reflection_answer() {
    let mesh = Mesh::all_in_one().await;
    let nobody = mesh.anonymous();
    let health = HealthClient::new(nobody.channel()).check(HealthCheckRequest::default()).await;
    assert!(health.is_ok(), "{health:?}");
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = tokio_stream::once(request);
    let mut answers = ServerReflectionClient::new(nobody.channel())
        .server_reflection_info(asked)
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(listed)) =
        answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    assert!(listed.service.iter().any(|s| s.name == "runspine.spine.v1.RunService"), "{listed:?}");

    let run = GetRunRequest { run_id: runspine_types::new_id(), ..GetRunRequest::default() };
    for status in [
        nobody.runs().get_run(run).await.unwrap_err(),
        nobody.runs().start_run(Agent::request()).await.unwrap_err(),
        nobody.operations().list_operations(ListOperationsRequest::default()).await.unwrap_err(),
        nobody.rules().list_rules(contracts_policies::v1::ListRulesRequest::default()).await.unwrap_err(),
    ] {
        assert_eq!(refusal(&status), (Code::Unauthenticated, "KEY_INVALID".to_owned()));
    }
}

#[tokio::test]
async fn another_tenant_sees_nothing() {
    let mesh = Mesh::all_in_one().await;
    let agent = Agent::start(&mesh.owner()).await;
    let stranger = mesh.stranger().await;
    let run_id = || agent.run_id.clone();
    let other = Agent { run_id: run_id(), ..Agent::start(&stranger).await };
    let evidence = GetRunEvidenceRequest { run_id: run_id(), ..Default::default() };
    let watch = WatchRunRequest { run_id: run_id(), from_seq: 1 };
    for status in [
        other.view().await.unwrap_err(),
        other.authorize(other.ask(0, "search")).await.unwrap_err(),
        other.complete(StepOutcome::Success).await.unwrap_err(),
        stranger.runs().get_run_evidence(evidence).await.unwrap_err(),
        stranger.runs().get_run_proof(GetRunProofRequest { run_id: run_id(), attempt: 0 }).await.unwrap_err(),
        stranger.runs().watch_run(watch).await.unwrap_err(),
    ] {
        assert_eq!(refusal(&status), (Code::NotFound, "RUN_NOT_FOUND".to_owned()), "{status:?}");
    }
    agent.take(0, "search").await.expect("its own tenant goes on");
}

#[tokio::test]
async fn roles_are_held_to_their_permissions() {
    let mesh = Mesh::all_in_one().await;
    let agent = Agent::start(&mesh.owner()).await;
    let viewer = mesh.person("vera", "VIEWER").await;
    let missing = |status: tonic::Status| assert_eq!(refusal(&status).1, "PERMISSION_MISSING", "{status:?}");
    missing(viewer.runs().start_run(Agent::request()).await.unwrap_err());
    missing(
        mesh.owner().reconciler().get_reconciler_status(GetReconcilerStatusRequest {}).await.unwrap_err(),
    );
    let seen = Agent { run_id: agent.run_id.clone(), ..agent.clone() };
    assert!(seen.view().await.is_ok());
    let developer = mesh.person("dora", "DEVELOPER").await;
    let request = contracts_spine::v1::AuthorizeStepRequest { ..agent.ask(0, "search") };
    let status = developer.runs().authorize_step(request).await.unwrap_err();
    assert_eq!(refusal(&status), (Code::PermissionDenied, "RUN_NOT_YOURS".to_owned()));
}
