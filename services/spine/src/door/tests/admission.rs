//! Who is let in, and in which order what is refused.

use contracts_controls::v1::FreezeScope;
use runspine_errors::{Reason, mesh};
use runspine_rpc::{Front, details};
use tonic::{Code, Status};

use super::world::{
    ADMIT_RUN, AUTHORIZE, CREATE_LIMIT, GET_LIMIT, LIFT, LIST_OPERATIONS, World, bearer, create_limit,
};
use crate::door::{DoorConfig, reasons};

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, reason: &Reason) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), details(&status).reason), (code, reason.name.to_owned()), "{status}");
    assert_eq!(details(&status).domain, reason.domain);
}

#[tokio::test]
async fn mesh_operations_are_denied_and_unknown_ones_unimplemented_whoever_asks() {
    let world = World::start().await;
    for key in [world.owner.as_str(), ""] {
        refused(world.call(key, ADMIT_RUN, b"").await, Code::PermissionDenied, &mesh::PEER_NOT_SPINE);
        refused(
            world.call(key, "runspine.x.v1.Y/Z", b"").await,
            Code::Unimplemented,
            &mesh::UNKNOWN_OPERATION,
        );
    }
    assert!(world.reached().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn without_a_good_credential_nothing_is_served_or_stored() {
    let world = World::start().await;
    let (start, end) = world.owner.split_at(world.owner.len() - 1);
    let mistyped = format!("{start}{}", if end == "0" { "1" } else { "0" });
    let other = World::start().await;
    for key in ["", "rsk_test_x", &mistyped, &other.owner] {
        refused(world.call(key, GET_LIMIT, b"").await, Code::Unauthenticated, &reasons::KEY_INVALID);
    }
    assert_eq!(world.door.unauthenticated_calls(), 4);
    assert!(world.records().is_empty() && world.reached().is_empty());
    other.stop().await;
    world.stop().await;
}

#[tokio::test]
async fn roles_scopes_and_kinds_bound_what_a_key_may() {
    let world = World::start().await;
    let viewer = world.add_key("HUMAN", &["VIEWER"], "").await;
    let scoped = world.add_key("SERVICE", &["OWNER"], "scopes = [\"runs.*\"]").await;
    let agent = world.add_key("AGENT", &["OWNER"], "").await;
    let robot = world.add_key("SERVICE", &["OWNER"], "").await;

    assert!(world.call(&viewer, GET_LIMIT, b"").await.is_ok());
    let create = create_limit("r-1");
    refused(
        world.call(&viewer, CREATE_LIMIT, &create).await,
        Code::PermissionDenied,
        &reasons::PERMISSION_MISSING,
    );
    refused(world.call(&scoped, GET_LIMIT, b"").await, Code::PermissionDenied, &reasons::KEY_SCOPE);
    assert!(world.call(&scoped, AUTHORIZE, b"").await.is_ok());
    refused(world.call(&agent, GET_LIMIT, b"").await, Code::PermissionDenied, &reasons::PERMISSION_MISSING);
    assert!(world.call(&agent, AUTHORIZE, b"").await.is_ok());
    refused(world.call(&robot, LIFT, b"").await, Code::PermissionDenied, &reasons::HUMAN_REQUIRED);
    assert!(world.call(&robot, CREATE_LIMIT, &create).await.is_ok());
    world.stop().await;
}

/// A frozen key is refused everything, a frozen tenant what changes something: its runs and freezes go on.
#[tokio::test]
async fn a_freeze_closes_the_door_to_its_scope() {
    let world = World::start().await;
    let key = world.add_key("SERVICE", &["OWNER"], "").await;
    let handle = world.door.inner.directory.resolve(&bearer(&key)).unwrap().handle.clone();
    let create = create_limit("r-1");
    world.freeze(FreezeScope::ApiKey, &handle, &world.tenant);
    refused(world.call(&key, GET_LIMIT, b"").await, Code::PermissionDenied, &reasons::KEY_FROZEN);
    refused(world.call(&key, AUTHORIZE, b"").await, Code::PermissionDenied, &reasons::KEY_FROZEN);
    assert!(world.call(&world.owner, CREATE_LIMIT, &create).await.is_ok());
    for (scope, tenant) in [(FreezeScope::Tenant, world.tenant.as_str()), (FreezeScope::Mesh, "")] {
        world.freeze(scope, "", tenant);
        let changed = world.call(&world.owner, CREATE_LIMIT, &create).await;
        refused(changed, Code::FailedPrecondition, &reasons::TENANT_NOT_ACTIVE);
        for (name, message) in [(GET_LIMIT, &b""[..]), (AUTHORIZE, b""), (LIFT, &create_limit("r-2"))] {
            assert!(world.call(&world.owner, name, message).await.is_ok(), "{name}");
        }
    }
    world.freeze(FreezeScope::Tenant, "", "another");
    assert!(world.call(&world.owner, CREATE_LIMIT, &create).await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn a_mutation_needs_its_request_id() {
    let world = World::start().await;
    let answer = world.call(&world.owner, CREATE_LIMIT, &create_limit("")).await;
    refused(answer, Code::InvalidArgument, &mesh::REQUEST_ID_REQUIRED);
    assert!(world.reached().is_empty());
    // A step's key is its run and index: the kernel checks it.
    assert!(world.call(&world.owner, AUTHORIZE, b"").await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn the_rate_counts_per_key_but_not_for_steps() {
    let world = World::start_with(DoorConfig { burst: 2, ..Default::default() }).await;
    for _ in 0..2 {
        assert!(world.call(&world.owner, GET_LIMIT, b"").await.is_ok());
    }
    let status = world.call(&world.owner, GET_LIMIT, b"").await.unwrap_err();
    assert_eq!(details(&status).retry_after, Some(std::time::Duration::from_millis(100)));
    refused::<()>(Err(status), Code::ResourceExhausted, &reasons::RATE_LIMITED);
    for _ in 0..20 {
        assert!(world.call(&world.owner, AUTHORIZE, b"").await.is_ok());
    }
    let other = world.add_key("HUMAN", &["VIEWER"], "").await;
    assert!(world.call(&other, GET_LIMIT, b"").await.is_ok());
    world.clock.advance(std::time::Duration::from_millis(100));
    assert!(world.call(&world.owner, GET_LIMIT, b"").await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn too_large_a_message_is_refused() {
    let world = World::start().await;
    let large = vec![0; runspine_rpc::MAX_MESSAGE_BYTES + 1];
    for name in [CREATE_LIMIT, AUTHORIZE] {
        let answer = world.call(&world.owner, name, &large).await;
        refused(answer, Code::ResourceExhausted, &mesh::MESSAGE_TOO_LARGE);
    }
    assert!(world.reached().is_empty());
    world.stop().await;
}

#[tokio::test]
async fn a_draining_door_takes_nobody() {
    let world = World::start().await;
    world.door.drain();
    refused(world.call(&world.owner, GET_LIMIT, b"").await, Code::Unavailable, &mesh::DRAINING);
    world.stop().await;
}

#[tokio::test]
async fn the_catalogue_shows_contracts_and_calls() {
    use contracts_spine::v1::{ListOperationsRequest, ListOperationsResponse, OperationFilter};
    use prost::Message;
    let world = World::start().await;
    let _ = world.call("", GET_LIMIT, b"").await;
    let _ = world.call(&world.owner, GET_LIMIT, b"").await;
    let filter = Some(OperationFilter { domain: "controls".into(), ..Default::default() });
    let mut asked = ListOperationsRequest { filter, page_size: 3, ..Default::default() };
    let mut all = Vec::new();
    loop {
        let bytes = world.call(&world.owner, LIST_OPERATIONS, &asked.encode_to_vec()).await.unwrap();
        let page = ListOperationsResponse::decode(bytes).unwrap();
        assert!(page.operations.len() <= 3);
        let total = usize::try_from(page.total_size).unwrap();
        all.extend(page.operations);
        if page.next_page_token.is_empty() {
            assert_eq!(all.len(), total);
            break;
        }
        asked.page_token = page.next_page_token;
    }
    assert!(all.is_sorted_by(|a, b| a.name < b.name) && all.len() > 10, "{}", all.len());
    let get = all.iter().find(|op| op.name == GET_LIMIT).unwrap();
    assert!(get.served);
    assert_eq!(get.contract.as_ref().unwrap().permission, "limits.read");
    let calls: Vec<_> = get.calls_24h.iter().map(|c| (c.code, c.calls)).collect();
    assert_eq!(calls, [(0, 1), (Code::Unauthenticated as i32, 1)]);
    world.stop().await;
}
