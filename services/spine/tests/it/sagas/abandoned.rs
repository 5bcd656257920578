//! A start that stopped half-way is given up, or gone on with: never both.

use std::sync::Arc;

use contracts_spine::v1::{StartOutcome, StartRunRequest, StartRunResponse};
use runspine_types::{FixedClock, Micros};
use tokio::sync::oneshot;

use super::*;

const START: &str = "spine.v1.RunService/StartRun";
/// Longer than a start that stopped is waited for.
const AWAY: Duration = Duration::from_secs(60);

/// A house where a start stopped right before the run was set going, so long ago that it is given up.
async fn stopped() -> (House, StartRunRequest) {
    let clock = Arc::new(FixedClock::at(Micros(1_767_323_045_000_000)));
    let house = House::with_clock(clock.clone()).await;
    let request = house.request(1);
    let at = move_number(&house).await;
    house.tap.plan(Plan::Dies { at, done: false });
    let cut = Box::pin(house.kernel().start_run(&house.hurried(), request.clone())).await;
    assert!(cut.is_err(), "{cut:?}");
    house.tap.plan(Plan::Calm);
    assert_eq!(house.get(&request.run_id).await.run.unwrap().phase(), RunPhase::Created);
    clock.advance(AWAY);
    (house, request)
}

/// Which of the calls of a start first moves its run.
async fn move_number(house: &House) -> usize {
    house.tap.plan(Plan::Calm);
    let whole = Box::pin(house.kernel().start_run(&house.patient(), house.request(1))).await.unwrap();
    assert_eq!(whole.outcome(), StartOutcome::Admitted);
    let calls = house.tap.calls();
    calls.iter().position(|path| path.ends_with("/TransitionRun")).expect("a start moves its run")
}

/// Its agent repeats the start right before the reconciler calls `method`. Gives what it was told.
async fn repeated_before(house: &House, method: &'static str, request: &StartRunRequest) -> StartRunResponse {
    let (called, go) = oneshot::channel();
    let (done, told) = oneshot::channel();
    house.tap.meanwhile(method, async move {
        called.send(()).expect("somebody waits for it");
        told.await.expect("an answer");
    });
    let reconciler = house.reconciler();
    let agent = async {
        go.await.expect("the reconciler gives the start up");
        let answer: StartRunResponse = house.ask(START, request.clone()).await;
        done.send(()).expect("the reconciler waits");
        answer
    };
    let ((), answer) = tokio::join!(reconciler.pass(), agent);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_gone_on_with_is_not_given_up() {
    let (house, request) = stopped().await;
    let told = repeated_before(&house, "/AppendIntent", &request).await;
    assert_eq!(told.outcome(), StartOutcome::Admitted, "{told:?}");
    assert!(told.lease.is_some());
    assert!(house.contract("run", &request.run_id, 1).await.intents.is_empty());
    house.reconciler().pass().await;
    assert_eq!(house.get(&request.run_id).await.run.unwrap().status(), RunStatus::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_given_up_is_not_gone_on_with() {
    let (house, request) = stopped().await;
    let told = repeated_before(&house, "/ReportRunOutcome", &request).await;
    assert_eq!((told.outcome(), told.lease.as_ref()), (StartOutcome::Denied, None), "{told:?}");
    finish_abandoned(&house, &request).await;
    let again: StartRunResponse = house.ask(START, request).await;
    assert_eq!(again, told, "the first answer is the answer");
}

/// It ends as what it is, and everything that was promised happened.
async fn finish_abandoned(house: &House, request: &StartRunRequest) {
    until_ok(Duration::from_secs(60), || async {
        house.reconciler().pass().await;
        let run = house.get(&request.run_id).await.run.unwrap();
        if run.phase() == RunPhase::Failed { Ok(()) } else { Err(format!("{run:?}")) }
    })
    .await;
    let run = house.get(&request.run_id).await.run.unwrap();
    assert_eq!(
        (run.termination_reason(), run.error_code.as_str()),
        (TerminationReason::SystemFailure, "START_ABANDONED")
    );
    assert_eq!(house.contract("run", &request.run_id, 1).await.state(), ContractState::Closed);
}
