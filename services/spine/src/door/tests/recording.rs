//! No answer without a record.

use std::sync::atomic::Ordering;

use contracts_logs::v1::{DispatchAuthority, DispatchOutcome};
use runspine_rpc::details;
use tonic::Code;

use super::world::{ADMIT_RUN, AUTHORIZE, CREATE_LIMIT, GET_LIMIT, World, create_limit};
use crate::door::reasons;

#[tokio::test]
async fn what_may_write_is_recorded_before_its_answer() {
    let world = World::start().await;
    world.call(&world.owner, CREATE_LIMIT, &create_limit("r-7")).await.unwrap();
    let records = world.records();
    assert_eq!(records.len(), 1, "at the moment of the answer");
    let record = &records[0];
    assert_eq!(record.operation, CREATE_LIMIT);
    assert_eq!(record.forwarded_to, "controls");
    assert_eq!(record.tenant_id, world.tenant);
    assert_eq!(record.request_id, "r-7");
    assert_eq!((record.request_digest.len(), record.response_digest.len()), (32, 32));
    assert_eq!(record.outcome, DispatchOutcome::Ok as i32);
    assert_eq!(record.authority, DispatchAuthority::Allowed as i32);
    assert_eq!(record.dispatch_id, world.reached()[0].context.causation_id);
    world.stop().await;
}

#[tokio::test]
async fn refusals_of_known_callers_are_recorded_before_their_answer() {
    let world = World::start().await;
    let viewer = world.add_key("HUMAN", &["VIEWER"], "").await;
    let expected = [
        (CREATE_LIMIT, "PERMISSION_MISSING", DispatchAuthority::Denied),
        (ADMIT_RUN, "PEER_NOT_SPINE", DispatchAuthority::Denied),
        ("runspine.x.v1.Y/Z", "UNKNOWN_OPERATION", DispatchAuthority::Allowed),
    ];
    for (at, (name, reason, authority)) in expected.into_iter().enumerate() {
        assert!(world.call(&viewer, name, &create_limit("r")).await.is_err());
        let records = world.records();
        assert_eq!(records.len(), at + 1);
        let record = &records[at];
        assert_eq!((record.operation.as_str(), record.reason.as_str()), (name, reason));
        assert_eq!((record.outcome, record.authority), (DispatchOutcome::Refused as i32, authority as i32));
    }
    world.stop().await;
}

#[tokio::test]
async fn reads_are_recorded_within_a_second_and_steps_only_counted() {
    let world = World::start().await;
    let begun = std::time::Instant::now();
    for _ in 0..3 {
        world.call(&world.owner, GET_LIMIT, b"").await.unwrap();
        world.call(&world.owner, AUTHORIZE, b"").await.unwrap();
    }
    world.until(|| async { world.records().len() == 3 }).await;
    assert!(begun.elapsed().as_millis() < 1_000, "{:?}", begun.elapsed());
    assert!(world.records().iter().all(|r| r.operation == GET_LIMIT));
    world.stop().await;
}

#[tokio::test]
async fn without_a_record_there_is_no_answer_and_the_record_is_not_lost() {
    let world = World::start().await;
    world.sink.broken.store(true, Ordering::SeqCst);
    let status = world.call(&world.owner, CREATE_LIMIT, &create_limit("r-1")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(details(&status).is(&reasons::DISPATCH_NOT_RECORDED));
    world.sink.broken.store(false, Ordering::SeqCst);
    world.until(|| async { world.records().len() == 1 }).await;
    assert!(world.call(&world.owner, CREATE_LIMIT, &create_limit("r-1")).await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn a_record_that_is_late_costs_its_caller_a_moment_and_no_error() {
    let world = World::start().await;
    world.sink.broken.store(true, Ordering::SeqCst);
    let request = create_limit("r-1");
    let call = world.call(&world.owner, CREATE_LIMIT, &request);
    let mend = async {
        world.until(|| async { world.sink.refused.load(Ordering::SeqCst) > 0 }).await;
        world.sink.broken.store(false, Ordering::SeqCst);
    };
    let (answer, ()) = tokio::join!(call, mend);
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(world.records().len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn what_a_client_writes_never_makes_a_record_bad() {
    let world = World::start().await;
    let long = "x".repeat(10_000);
    assert!(world.call(&world.owner, CREATE_LIMIT, &create_limit(&long)).await.is_ok());
    for name in ["", long.as_str()] {
        assert_eq!(world.call(&world.owner, name, b"").await.unwrap_err().code(), Code::Unimplemented);
    }
    assert_eq!(world.records().len(), 3);
    world.stop().await;
}

#[tokio::test]
async fn one_bad_record_does_not_hold_up_the_rest() {
    let world = World::start().await;
    *world.sink.poison.lock() = Some("bad".into());
    let calls = ["good-1", "bad", "good-2"].map(create_limit);
    let answers =
        futures::future::join_all(calls.iter().map(|c| world.call(&world.owner, CREATE_LIMIT, c))).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(details(answers[1].as_ref().unwrap_err()).is(&reasons::DISPATCH_NOT_RECORDED));
    assert!(world.call(&world.owner, CREATE_LIMIT, &create_limit("good-3")).await.is_ok());
    assert_eq!(world.records().len(), 3);
    world.stop().await;
}

#[tokio::test]
async fn what_waits_at_the_stop_is_written() {
    let world = World::start().await;
    world.call(&world.owner, GET_LIMIT, b"").await.unwrap();
    let sink = world.sink.clone();
    world.stop().await;
    assert_eq!(sink.records.lock().len(), 1);
}
