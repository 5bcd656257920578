//! The same stack behind both doors gives the same answers.

use std::time::Duration;

use runspine_boot::Deps;
use runspine_errors::mesh;
use runspine_rpc::{details, grpc_timeout};
use tokio::time::Instant;
use tonic::Code;

use super::demo::{ECHO, PUT, World, call, watch};

#[tokio::test]
async fn the_context_reaches_the_handler() {
    let world = World::start().await;
    for (door, way) in world.ways() {
        assert_eq!(call(&way, &world.context(), ECHO, "tenant").await.unwrap(), "t-1", "{door}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_deadline_is_deadline_exceeded_on_both_doors() {
    let world = World::start().await;
    for (door, way) in world.ways() {
        let begun = Instant::now();
        // The contract's own 300 ms.
        let late = call(&way, &world.context(), ECHO, "sleep").await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{door}: {late}");
        assert!(details(&late).is(&mesh::DEADLINE_EXCEEDED), "{door}");
        // The caller's, which is earlier.
        let soon = world.context().until(Some(Instant::now() + Duration::from_millis(50)));
        let late = call(&way, &soon, PUT, "sleep").await.unwrap_err();
        assert_eq!(late.code(), Code::DeadlineExceeded, "{door}: {late}");
        assert!(begun.elapsed() < Duration::from_secs(2), "{door}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_panic_is_internal_with_an_error_id_and_the_service_lives_on() {
    let world = World::start().await;
    for (door, way) in world.ways() {
        for act in ["panic", "fail"] {
            let broken = call(&way, &world.context(), ECHO, act).await.unwrap_err();
            assert_eq!(broken.code(), Code::Internal, "{door}");
            let id = details(&broken).metadata["error_id"].clone();
            assert!(runspine_types::is_uuid_v7(&id), "{door}: {id}");
            assert!(broken.message().contains(&id), "{door}");
            assert!(
                !broken.message().contains("as asked") && !broken.message().contains("cellar"),
                "{door}: {broken}"
            );
        }
        assert_eq!(call(&way, &world.context(), ECHO, "").await.unwrap(), "k", "{door}");
    }
    world.stop().await;
}

#[tokio::test]
async fn streams_have_the_deadline_and_the_guard_too() {
    let world = World::start().await;
    for (door, way) in world.ways() {
        let (texts, end) = watch(&way, &world.context(), "").await;
        assert_eq!(texts, ["first", "second"], "{door}");
        assert!(end.is_ok(), "{door}");
        let (texts, end) = watch(&way, &world.context(), "sleep").await;
        assert_eq!(texts, ["first"], "{door}");
        assert_eq!(end.unwrap_err().code(), Code::DeadlineExceeded, "{door}");
        let (_, end) = watch(&way, &world.context(), "panic").await;
        assert_eq!(end.unwrap_err().code(), Code::Internal, "{door}");
    }
    world.stop().await;
}

#[tokio::test]
async fn all_violations_arrive() {
    let world = World::start().await;
    for (door, way) in world.ways() {
        let wrong = call(&way, &world.context(), ECHO, "invalid").await.unwrap_err();
        let told = details(&wrong);
        assert_eq!(wrong.code(), Code::InvalidArgument, "{door}");
        assert_eq!(told.fields, [("key".into(), "X: one".into()), ("act".into(), "Y: two".into())], "{door}");
        assert_eq!(
            (told.reason.as_str(), told.domain.as_str()),
            ("FIELD_INVALID", "mesh.runspine"),
            "{door}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn what_does_not_exist_is_unimplemented_on_both_doors() {
    let world = World::start().await;
    let anything = world.context().operation().cloned().unwrap();
    let mut open = (*anything).clone();
    open.calls.insert("runspine.demo.v1.DemoService/Gone".into());
    let context =
        runspine_rpc::Context::serving(&std::sync::Arc::new(open), (*world.context()).clone(), None);
    for (door, way) in world.ways() {
        let unknown = call(&way, &context, "runspine.demo.v1.DemoService/Gone", "").await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unimplemented, "{door}");
        assert!(details(&unknown).is(&mesh::UNKNOWN_OPERATION), "{door}");
    }
    world.stop().await;
}

#[tokio::test]
async fn too_much_is_refused_at_once_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut deps = Deps::for_tests(dir.path()).unwrap();
    deps.stack.limits.in_flight = 1;
    let world = World::start_with(deps, dir).await;
    for (door, way) in world.ways() {
        let (context, one) = (world.context(), way.clone());
        let held = tokio::spawn(async move { call(&one, &context, ECHO, "sleep").await });
        while world.stack.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        let shed = call(&way, &world.context(), PUT, "").await.unwrap_err();
        assert_eq!(shed.code(), Code::ResourceExhausted, "{door}");
        assert!(details(&shed).is(&mesh::OVERLOADED) && details(&shed).retry_after.is_some(), "{door}");
        assert_eq!(held.await.unwrap().unwrap_err().code(), Code::DeadlineExceeded, "{door}");
    }
    let counted = world.stack.snapshots();
    let put = counted.iter().find(|(op, _)| op.name == PUT).unwrap();
    assert_eq!(put.1.with_code(Code::ResourceExhausted), 2);
    assert_eq!(put.1.calls(), 2);
    world.stop().await;
}

#[tokio::test]
async fn a_call_that_is_open_at_the_stop_is_answered() {
    let world = World::start().await;
    let (way, context) = (world.remote.clone(), world.context());
    let open = tokio::spawn(async move { call(&way, &context, ECHO, "nap").await });
    while world.stack.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    world.stop().await;
    assert_eq!(open.await.unwrap().unwrap(), "k");
}

#[test]
fn a_malformed_timeout_is_none() {
    assert_eq!(grpc_timeout(&http::HeaderMap::new()), None);
}
