//! What is tried again, and what is not.

use std::{sync::atomic::Ordering, time::Duration};

use runspine_testkit::until_ok;
use tokio::time::Instant;
use tonic::Code;

use super::demo::{ECHO, PUT, World, call};

#[tokio::test]
async fn a_repeatable_call_survives_two_failures() {
    let world = World::start().await;
    assert_eq!(call(&world.remote, &world.context(), PUT, "flaky").await.unwrap(), "k");
    assert_eq!(world.demo.calls.load(Ordering::SeqCst), 3);
    world.stop().await;
}

#[tokio::test]
async fn three_attempts_are_the_most_and_other_failures_are_not_repeated() {
    let world = World::start().await;
    assert_eq!(
        call(&world.remote, &world.context(), PUT, "down").await.unwrap_err().code(),
        Code::Unavailable
    );
    assert_eq!(world.demo.calls.swap(0, Ordering::SeqCst), 3);
    assert_eq!(
        call(&world.remote, &world.context(), ECHO, "invalid").await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(world.demo.calls.load(Ordering::SeqCst), 1);
    world.stop().await;
}

#[tokio::test]
async fn nothing_is_repeated_when_the_time_does_not_allow_it() {
    let world = World::start().await;
    let soon = world.context().until(Some(Instant::now() + Duration::from_millis(4)));
    let failed = call(&world.remote, &soon, PUT, "down").await.unwrap_err();
    assert!(matches!(failed.code(), Code::Unavailable | Code::DeadlineExceeded));
    assert!(world.demo.calls.load(Ordering::SeqCst) <= 1);
    world.stop().await;
}

#[tokio::test]
async fn a_target_that_keeps_failing_is_left_alone() {
    let world = World::start().await;
    for _ in 0..8 {
        let _ = call(&world.remote, &world.context(), PUT, "down").await;
    }
    let reached = world.demo.calls.load(Ordering::SeqCst);
    let refused = call(&world.remote, &world.context(), PUT, "").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(world.demo.calls.load(Ordering::SeqCst), reached, "the breaker let it through");
    until_ok(Duration::from_secs(5), || async { call(&world.remote, &world.context(), PUT, "").await }).await;
    world.stop().await;
}
