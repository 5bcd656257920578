//! The door behind a real listener: what a client without the mesh's code sees.

use std::sync::Arc;

use contracts_controls::v1::{
    AdmitRunRequest, GetLimitRequest, admission_service_client::AdmissionServiceClient,
    limit_service_client::LimitServiceClient,
};
use tonic::{Code, Request, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::world::World;

#[derive(Clone, PartialEq, prost::Message)]
struct HealthRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

async fn health(channel: &Channel, service: &str) -> Result<i32, tonic::Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = ProstCodec::<HealthRequest, HealthResponse>::default();
    let request = Request::new(HealthRequest { service: service.into() });
    grpc.unary(request, path, codec).await.map(|r| r.into_inner().status)
}

#[tokio::test]
async fn a_client_over_the_network_meets_the_door_and_health_is_open() {
    let mut world = World::start().await;
    let spine = world.spine.take().unwrap().front(Arc::new(world.door.clone()));
    let running = runspine_boot::start(vec![spine], &world.deps).await.unwrap();
    let channel =
        Channel::from_shared(format!("http://{}", running.address())).unwrap().connect().await.unwrap();

    for name in ["", "spine", "runspine.spine.v1.RunService"] {
        assert_eq!(health(&channel, name).await.unwrap(), SERVING, "{name:?}");
    }
    assert_eq!(health(&channel, "nobody").await.unwrap_err().code(), Code::NotFound);

    let mut limits = LimitServiceClient::new(channel.clone());
    let bare = limits.get_limit(GetLimitRequest::default()).await.unwrap_err();
    assert_eq!(bare.code(), Code::Unauthenticated);
    let mut known = Request::new(GetLimitRequest::default());
    known.metadata_mut().insert("authorization", format!("Bearer {}", world.owner).parse().unwrap());
    assert!(limits.get_limit(known).await.is_ok());

    let mut inner = AdmissionServiceClient::new(channel.clone());
    let mesh_only = inner.admit_run(AdmitRunRequest::default()).await.unwrap_err();
    assert_eq!(mesh_only.code(), Code::PermissionDenied);

    running.stop().await;
    assert!(limits.get_limit(GetLimitRequest::default()).await.is_err(), "the listener is gone");
    world.stop().await;
}
