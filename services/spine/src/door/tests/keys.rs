//! The key file: made once, reread when it changes, never holding a key.

use runspine_rpc::details;
use runspine_types::Micros;
use tonic::Code;

use super::world::{AUTHORIZE, GET_LIMIT, World};
use crate::door::reasons;

#[tokio::test]
async fn the_first_start_makes_one_key_and_keeps_only_its_hash() {
    let world = World::start().await;
    let file = std::fs::read_to_string(world.dir.path().join("api-keys.toml")).unwrap();
    let secret = &world.owner[world.owner.len() - 49..];
    assert!(!file.contains(secret) && file.contains(&world.tenant));
    let clock = world.deps.clock.clone();
    let (_, again) = crate::door::Directory::open(world.dir.path(), clock).await.unwrap();
    assert!(again.is_none(), "a second start made another key");
    world.stop().await;
}

#[tokio::test]
async fn a_revoked_key_is_refused_within_a_second() {
    let world = World::start().await;
    assert!(world.call(&world.owner, GET_LIMIT, b"").await.is_ok());
    let path = world.dir.path().join("api-keys.toml");
    let file = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, file.replace("revoked = false", "revoked = true")).unwrap();
    let begun = std::time::Instant::now();
    world.until(|| async { world.call(&world.owner, AUTHORIZE, b"").await.is_err() }).await;
    assert!(begun.elapsed().as_millis() < 1_000, "{:?}", begun.elapsed());
    let status = world.call(&world.owner, GET_LIMIT, b"").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(details(&status).is(&reasons::KEY_REVOKED));
    world.stop().await;
}

#[tokio::test]
async fn an_expired_key_is_refused_by_the_clock() {
    let world = World::start().await;
    let key = world.add_key("HUMAN", &["VIEWER"], "expires_at = \"2027-01-15T08:01:00Z\"").await;
    world.until(|| async { world.call(&key, GET_LIMIT, b"").await.is_ok() }).await;
    assert_eq!(world.deps.clock.now(), Micros(1_800_000_000_000_000), "2027-01-15T08:00:00Z");
    world.clock.advance(std::time::Duration::from_secs(60));
    let status = world.call(&key, GET_LIMIT, b"").await.unwrap_err();
    assert!(details(&status).is(&reasons::KEY_EXPIRED));
    world.stop().await;
}

#[tokio::test]
async fn a_broken_edit_leaves_the_last_good_file_in_force() {
    let world = World::start().await;
    let path = world.dir.path().join("api-keys.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("OWNER", "EMPEROR")).unwrap();
    assert!(world.door.inner.directory.reread().await.is_err());
    assert!(world.call(&world.owner, GET_LIMIT, b"").await.is_ok());
    let viewer = {
        std::fs::write(&path, good).unwrap();
        world.add_key("HUMAN", &["VIEWER"], "").await
    };
    assert!(world.call(&viewer, GET_LIMIT, b"").await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn a_key_that_could_not_be_read_is_never_written() {
    use crate::door::issue::{NewKey, issue, list};
    let world = World::start().await;
    let new = |role: &str| NewKey {
        tenant: world.tenant.clone(),
        actor_kind: "HUMAN".into(),
        actor: "a".into(),
        roles: vec![role.into()],
        ..NewKey::default()
    };
    assert!(issue(world.dir.path(), new("EMPEROR"), false).await.is_err());
    assert_eq!(list(world.dir.path()).await.unwrap().len(), 1);
    let key = issue(world.dir.path(), new("VIEWER"), false).await.unwrap();
    world.until(|| async { world.call(&key, GET_LIMIT, b"").await.is_ok() }).await;
    world.stop().await;
}
