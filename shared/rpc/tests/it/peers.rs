//! Only the spine's identity is let in, and only for what its operation declared.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::CallContext;
use http::HeaderMap;
use runspine_boot::Deps;
use runspine_errors::mesh;
use runspine_rpc::{Transport, details};
use runspine_types::{FixedClock, Micros};
use tonic::{Code, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::demo::{DemoRequest, DemoResponse, ECHO, PUT, World, ask, call, way};

/// A call with headers of our own, round the transport.
async fn raw(world: &World, headers: &HeaderMap, path: &str) -> Result<String, Status> {
    let channel = Channel::from_shared(world.address.clone()).unwrap().connect().await.unwrap();
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let mut request = tonic::Request::new(ask("tenant"));
    *request.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers.clone());
    let codec = ProstCodec::<DemoRequest, DemoResponse>::default();
    let path = http::uri::PathAndQuery::try_from(format!("/{path}")).unwrap();
    grpc.unary(request, path, codec).await.map(|r| r.into_inner().text)
}

fn signed(deps: &Deps, path: &str, at: Micros) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let call = CallContext { tenant_id: "t-9".into(), ..Default::default() };
    deps.stack.key.sign(&format!("/{path}"), &call, at, &mut headers);
    headers
}

fn refused(answer: Result<String, Status>, what: &str) {
    let status = answer.expect_err(what);
    assert_eq!(status.code(), Code::PermissionDenied, "{what}: {status}");
    assert!(details(&status).is(&mesh::PEER_NOT_SPINE), "{what}");
}

#[tokio::test]
async fn forged_foreign_and_old_signatures_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let now = Micros(1_800_000_000_000_000);
    let clock = Arc::new(FixedClock::at(now));
    let world = World::start_with(Deps::for_tests(dir.path()).unwrap().with_clock(clock.clone()), dir).await;
    let good = signed(&world.deps, ECHO, now);
    assert_eq!(raw(&world, &good, ECHO).await.unwrap(), "t-9");

    refused(raw(&world, &HeaderMap::new(), ECHO).await, "unsigned");
    refused(raw(&world, &good, PUT).await, "signed for another method");
    let other = tempfile::tempdir().unwrap();
    let foreign = Deps::for_tests(other.path()).unwrap();
    refused(raw(&world, &signed(&foreign, ECHO, now), ECHO).await, "signed with another key");
    let mut swapped = good.clone();
    let context = signed(&world.deps, ECHO, now.plus_millis(1))["runspine-context-bin"].clone();
    swapped.insert("runspine-context-bin", context);
    refused(raw(&world, &swapped, ECHO).await, "another context under the same signature");
    let mut bare = good.clone();
    bare.remove("runspine-signature-bin");
    refused(raw(&world, &bare, ECHO).await, "context without signature");

    clock.advance(Duration::from_secs(60));
    assert!(raw(&world, &good, ECHO).await.is_ok(), "60 s old");
    clock.advance(Duration::from_millis(1));
    refused(raw(&world, &good, ECHO).await, "older than 60 s");
    refused(
        raw(&world, &signed(&world.deps, ECHO, now + Duration::from_secs(90)), ECHO).await,
        "from the future",
    );
    assert_eq!(
        world.demo.calls.load(std::sync::atomic::Ordering::SeqCst),
        2,
        "no refused call reached the handler"
    );
    world.stop().await;
}

#[tokio::test]
async fn an_undeclared_call_never_leaves_and_is_counted() {
    let world = World::start().await;
    let context = world.context_for(&[ECHO]);
    for (door, way) in world.ways() {
        assert!(call(&way, &context, ECHO, "").await.is_ok(), "{door}");
        let status = call(&way, &context, PUT, "").await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{door}");
        assert!(details(&status).is(&mesh::CALL_NOT_DECLARED), "{door}");
        assert_eq!(way.undeclared_calls(), 1, "{door}");
    }
    assert_eq!(world.demo.calls.load(std::sync::atomic::Ordering::SeqCst), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_call_without_a_context_is_refused() {
    let world = World::start().await;
    for (door, way) in world.ways() {
        let answer = super::demo::send(&way, tonic::Request::new(ask("")), ECHO).await;
        refused(answer, door);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_draining_service_refuses_the_network_and_finishes_what_is_in_process() {
    let world = World::start().await;
    world.stack.drain();
    let context = world.context();
    let status = call(&world.remote, &context.until(None), ECHO, "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(details(&status).is(&mesh::DRAINING));
    assert!(call(&world.local, &context, ECHO, "").await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn nobody_there_is_target_unavailable() {
    let world = World::start().await;
    let nowhere: Transport = way("http://127.0.0.1:1", &world.deps, &world.stack);
    let status = call(&nowhere, &world.context(), PUT, "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(details(&status).is(&mesh::TARGET_UNAVAILABLE));
    world.stop().await;
}
