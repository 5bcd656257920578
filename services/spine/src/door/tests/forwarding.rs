//! What passes through the door passes untouched, and nothing that a client says becomes an identity.

use bytes::Bytes;
use contracts_common::common::v1::GovernanceProfile;
use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Body, Front, details, full_body};
use tonic::{Code, Status};

use super::world::{AUTHORIZE, CREATE_LIMIT, GET_LIMIT, GOVERN, World, bearer, create_limit, frame};

#[tokio::test]
async fn unknown_fields_pass_byte_for_byte_both_ways() {
    let world = World::start().await;
    let answer = Bytes::from_static(&[0xfa, 0xf0, 0x04, 2, b'o', b'k']);
    let told = answer.clone();
    world.fakes.answer(move || Ok(told.clone()));
    let sent = create_limit("r-1");
    let got = world.call(&world.owner, CREATE_LIMIT, &sent).await.unwrap();
    assert_eq!(got, answer);
    assert_eq!(world.reached()[0].path, format!("/{CREATE_LIMIT}"));
    assert_eq!(world.reached()[0].data, frame(&sent));
    let got = world.call(&world.owner, GET_LIMIT, &sent).await.unwrap();
    assert_eq!(got, answer);
    assert_eq!(world.reached()[1].data, frame(&sent));
    world.stop().await;
}

#[tokio::test]
async fn the_context_comes_from_the_credential_alone() {
    let world = World::start().await;
    let mut headers = bearer(&world.owner);
    for forged in ["runspine-context-bin", "runspine-signature-bin", "x-tenant", "x-role"] {
        headers.insert(forged, http::HeaderValue::from_static("Zm9yZ2Vk"));
    }
    headers.insert("runspine-correlation-id", http::HeaderValue::from_static("order-66"));
    world.call_with(headers, GET_LIMIT, full_body(frame(b""), None)).await.unwrap();
    let reached = &world.reached()[0];
    let context = &reached.context;
    assert_eq!(context.tenant_id, world.tenant);
    assert_eq!(context.actor.as_ref().unwrap().id, "developer");
    assert_eq!(context.roles, ["OWNER"]);
    assert_eq!(context.operation, GET_LIMIT);
    assert_eq!(context.correlation_id, "order-66");
    assert!(runspine_types::is_uuid_v7(&context.causation_id));
    assert_eq!(context.profile, GovernanceProfile::Standard as i32);
    assert_eq!(context.config_digest, world.deps.profile.digest.to_vec());
    let leaked: Vec<_> =
        reached.headers.keys().filter(|name| !["content-type", "te"].contains(&name.as_str())).collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    world.stop().await;
}

#[tokio::test]
async fn the_earlier_deadline_holds() {
    let world = World::start().await;
    for (asked, most) in [("50m", 50), ("1H", 2_000)] {
        let mut headers = bearer(&world.owner);
        headers.insert("grpc-timeout", http::HeaderValue::from_str(asked).unwrap());
        world.call_with(headers, GET_LIMIT, full_body(frame(b""), None)).await.unwrap();
        let deadline = world.reached().last().unwrap().context.deadline().unwrap();
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        assert!(left <= std::time::Duration::from_millis(most), "{asked}: {left:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_owners_refusal_arrives_with_its_details() {
    let world = World::start().await;
    world.fakes.answer(|| {
        Err(Fault::new(&mesh::IDEMPOTENCY_MISMATCH, "another body").field("name", "X", "differs"))
    });
    let status = world.call(&world.owner, CREATE_LIMIT, &create_limit("r-1")).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(details(&status).is(&mesh::IDEMPOTENCY_MISMATCH));
    assert_eq!(details(&status).fields, [("name".into(), "X: differs".into())]);
    let record = &world.records()[0];
    assert_eq!((record.reason.as_str(), record.grpc_code), ("IDEMPOTENCY_MISMATCH", 6));
    world.stop().await;
}

#[tokio::test]
async fn an_owner_that_is_not_there_is_target_unavailable() {
    let world = World::start().await;
    let status = world.call(&world.owner, "runspine.logs.v1.KeyService/ListKeys", b"").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(details(&status).is(&mesh::TARGET_UNAVAILABLE));
    world.stop().await;
}

#[tokio::test]
async fn a_stream_passes_frame_by_frame_and_ends_when_its_key_does() {
    let world = World::start().await;
    let agent = world.add_key("AGENT", &["AGENT"], "").await;
    let (send, frames) = tokio::sync::mpsc::unbounded_channel::<Result<Frame<Bytes>, Status>>();
    let frames = tokio_stream::wrappers::UnboundedReceiverStream::new(frames);
    let mut request = http::Request::post(format!("http://door/{GOVERN}"))
        .body(Body::new(StreamBody::new(frames)))
        .unwrap();
    *request.headers_mut() = bearer(&agent);
    let mut answers = world.door.call(request).await.into_body().into_data_stream();
    for n in [1u8, 2, 3] {
        send.send(Ok(Frame::data(frame(&[n])))).unwrap();
        assert_eq!(answers.next().await.unwrap().unwrap(), frame(&[n]));
    }
    let path = world.dir.path().join("api-keys.toml");
    let file = std::fs::read_to_string(&path).unwrap();
    let revoked = file.replacen("actor_kind = \"AGENT\"", "revoked = true\nactor_kind = \"AGENT\"", 1);
    assert_ne!(file, revoked);
    std::fs::write(&path, revoked).unwrap();
    world.until(|| async { world.call(&agent, AUTHORIZE, b"").await.is_err() }).await;
    send.send(Ok(Frame::data(frame(&[4])))).unwrap();
    let ended = answers.next().await;
    assert!(!matches!(&ended, Some(Ok(data)) if data == &frame(&[4])), "a frame passed after the revocation");
    world.stop().await;
}
