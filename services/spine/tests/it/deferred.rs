//! A start that a rule puts off waits, holding nothing, and is decided anew when somebody comes for it.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{Directive, RunPhase, RunStatus, Verdict};
use contracts_spine::v1::{self as pb, StartOutcome};
use runspine_types::{Clock, FixedClock, Micros, SystemClock, new_id};

use crate::sagas::house::House;

/// A time as a rule's text writes it.
pub fn written(at: Micros) -> String {
    format!("datetime(\"{}\")", runspine_rpc::timestamp(Micros(at.0 / 1_000 * 1_000)))
}

fn put_off(retry_after_ms: u64, when: &str) -> String {
    format!(
        "@outcome(\"defer\") @obligations(\"retry_after({retry_after_ms})\")\n\
         forbid(principal, action == Runspine::Action::\"start_run\", resource) {when};"
    )
}

async fn claim(house: &House, run_id: &str) -> pb::RenewLeaseResponse {
    let request = pb::RenewLeaseRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        attempt: 1,
        claim: true,
        ..Default::default()
    };
    house.ask("spine.v1.RunService/RenewLease", request).await
}

async fn start(house: &House, request: pb::StartRunRequest) -> pb::StartRunResponse {
    let told: pb::StartRunResponse = house.ask("spine.v1.RunService/StartRun", request.clone()).await;
    assert_eq!(told.outcome(), StartOutcome::Waiting, "{told:?}");
    assert_eq!(told.decision.as_ref().unwrap().verdict(), Verdict::Defer);
    let again: pb::StartRunResponse = house.ask("spine.v1.RunService/StartRun", request).await;
    assert_eq!(again, told, "the same question, the same answer");
    told
}

/// A house whose clock stands, and the time as rules write it at which starts are put off no more.
async fn put_off_for_a_while() -> (House, Arc<FixedClock>, String) {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let house = House::with_clock(Arc::clone(&clock) as Arc<dyn Clock>).await;
    let over = written(clock.now().plus_millis(1_500));
    house.rule("later", &put_off(1_000, &format!("when {{ context.now.at < {over} }}"))).await;
    (house, clock, over)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_put_off_goes_on_when_it_may() {
    let (house, clock, _) = put_off_for_a_while().await;
    let told = start(&house, house.request(1)).await;
    assert_eq!((told.retry_after_ms, &told.lease), (1_000, &None));
    let run = told.run.unwrap();
    assert_eq!((run.phase(), run.status()), (RunPhase::Created, RunStatus::Queued));

    let early = claim(&house, &run.run_id).await;
    assert_eq!((early.lease, early.retry_after_ms), (None, 1_000), "it is not asked about before its time");
    clock.advance(Duration::from_millis(1_000));
    let again = claim(&house, &run.run_id).await;
    assert_eq!((again.lease, again.retry_after_ms), (None, 1_000), "it is put off again");
    clock.advance(Duration::from_millis(1_000));
    let taken = claim(&house, &run.run_id).await;
    assert_eq!((taken.lease.is_some(), taken.status()), (true, RunStatus::Running));
    let now = house.get(&run.run_id).await.run.unwrap();
    assert_eq!((now.phase(), now.status()), (RunPhase::Executing, RunStatus::Running));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_put_off_too_often_is_refused() {
    let clock = Arc::new(FixedClock::at(SystemClock.now()));
    let house = House::with_clock(Arc::clone(&clock) as Arc<dyn Clock>).await;
    house.rule("never", &put_off(100, "")).await;
    let run_id = start(&house, house.request(1)).await.run.unwrap().run_id;
    for _ in 1..10 {
        clock.advance(Duration::from_millis(100));
        assert_eq!(claim(&house, &run_id).await.directive(), Directive::Continue);
    }
    clock.advance(Duration::from_millis(100));
    refused(&house, &run_id).await;
}

/// What a start declared is asked about each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_put_off_keeps_what_it_declared() {
    let (house, clock, over) = put_off_for_a_while().await;
    let shell = format!(
        "forbid(principal, action == Runspine::Action::\"start_run\", resource) \
         when {{ context.now.at >= {over} && context.declared_tools.contains(\"shell\") }};"
    );
    house.rule("shell", &shell).await;
    let declared = pb::StartRunRequest { declared_tools: vec!["shell".to_owned()], ..house.request(1) };
    let run_id = start(&house, declared).await.run.unwrap().run_id;
    clock.advance(Duration::from_millis(2_000));
    refused(&house, &run_id).await;
}

async fn refused(house: &House, run_id: &str) {
    let told = claim(house, run_id).await;
    assert_eq!((told.directive(), told.lease), (Directive::Terminate, None));
    let run = house.get(run_id).await.run.unwrap();
    assert_eq!((run.phase(), run.status()), (RunPhase::Failed, RunStatus::FailedPolicy));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_start_declares_has_its_bounds() {
    let house = House::open().await;
    let tools: Vec<String> = (0..64).map(|n| format!("{n:0>200}")).collect();
    let request = pb::StartRunRequest { declared_tools: tools, ..house.request(1) };
    let reason = house.refuse::<_, pb::StartRunResponse>("spine.v1.RunService/StartRun", request).await;
    assert_eq!(reason, "FIELD_INVALID");
}
