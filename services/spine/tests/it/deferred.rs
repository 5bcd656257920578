//! A start that a rule puts off waits, holding nothing, and is decided anew when somebody comes for it.

use std::time::Duration;

use contracts_common::common::v1::{Directive, RunPhase, RunStatus, Verdict};
use contracts_spine::v1::{self as pb, StartOutcome};
use runspine_types::{Clock as _, Micros, SystemClock, new_id};
use tokio::time::sleep;

use crate::sagas::house::House;

/// How long the rule puts starts off: long enough for a start on a busy machine, and for fewer claims than it allows.
const RULED_MS: i64 = 8_000;
const RETRY_MS: u64 = 1_000;

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

async fn start(house: &House) -> pb::StartRunResponse {
    let request = house.request(1);
    let told: pb::StartRunResponse = house.ask("spine.v1.RunService/StartRun", request.clone()).await;
    assert_eq!(told.outcome(), StartOutcome::Waiting, "{told:?}");
    assert_eq!(told.decision.as_ref().unwrap().verdict(), Verdict::Defer);
    let again: pb::StartRunResponse = house.ask("spine.v1.RunService/StartRun", request).await;
    assert_eq!(again, told, "the same question, the same answer");
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_put_off_goes_on_when_it_may() {
    let house = House::open().await;
    let over = written(SystemClock.now().plus_millis(RULED_MS));
    house.rule("later", &put_off(RETRY_MS, &format!("when {{ context.now.at < {over} }}"))).await;
    let told = start(&house).await;
    assert_eq!((told.retry_after_ms, &told.lease), (RETRY_MS, &None));
    let run = told.run.unwrap();
    assert_eq!((run.phase(), run.status()), (RunPhase::Created, RunStatus::Queued));

    let early = claim(&house, &run.run_id).await;
    assert!(early.lease.is_none() && (1..=RETRY_MS).contains(&early.retry_after_ms), "{early:?}");
    let mut taken = early;
    while taken.lease.is_none() {
        sleep(Duration::from_millis(taken.retry_after_ms)).await;
        taken = claim(&house, &run.run_id).await;
        assert_ne!(taken.directive(), Directive::Terminate, "{taken:?}");
    }
    assert_eq!(taken.status(), RunStatus::Running);
    let now = house.get(&run.run_id).await.run.unwrap();
    assert_eq!((now.phase(), now.status()), (RunPhase::Executing, RunStatus::Running));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_put_off_too_often_is_refused() {
    let house = House::open().await;
    house.rule("never", &put_off(100, "")).await;
    let run_id = start(&house).await.run.unwrap().run_id;
    let mut asked = 0;
    let refused = loop {
        let told = claim(&house, &run_id).await;
        if told.directive() == Directive::Terminate {
            break told;
        }
        asked += 1;
        assert!(asked < 1_000, "{told:?}");
        sleep(Duration::from_millis(told.retry_after_ms)).await;
    };
    assert!(refused.lease.is_none());
    let run = house.get(&run_id).await.run.unwrap();
    assert_eq!((run.phase(), run.status()), (RunPhase::Failed, RunStatus::FailedPolicy));
}
