//! Promises that a person has driven: what the reconciler would do, now, and on the ledger under the person's name.

use contracts_common::common::v1::ContractVerdict;
use contracts_logs::v1::{
    ClaimOverdueRequest, ClaimOverdueResponse, ContractKey, DriveResult, LedgerFilter, ListEntriesRequest,
    ListEntriesResponse, ReleaseClaimRequest, ReleaseClaimResponse,
};
use contracts_spine::v1::{
    DriveContractRequest, DriveContractResponse, DriveOutcome, GetReconcilerStatusRequest,
    GetReconcilerStatusResponse,
};

use super::*;

const DRIVE: &str = "spine.v1.ReconcilerService/DriveContract";

fn order(saga: &str, subject: &str) -> DriveContractRequest {
    DriveContractRequest {
        saga: saga.to_owned(),
        subject_id: subject.to_owned(),
        attempt: 1,
        reason: "the node is back".to_owned(),
        request_id: new_id(),
    }
}

/// A violation whose incident waits for a domain that is gone.
async fn waiting(house: &House) -> policies::Violation {
    let violation = Violated::before(house).await;
    house.tap.plan(Plan::Down("incidents"));
    let open = Violated::drive(&house.kernel(), &house.hurried(), &violation).await;
    assert!(open.is_err(), "it waits");
    violation
}

async fn status(house: &House) -> GetReconcilerStatusResponse {
    house.ask("spine.v1.ReconcilerService/GetReconcilerStatus", GetReconcilerStatusRequest {}).await
}

/// Done at once, answered again with the same bytes, and recorded once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promise_is_driven_by_order() {
    let house = House::open().await;
    let violation = waiting(&house).await;
    let order = order("violation", &violation.violation_id);
    let driven: DriveContractResponse = house.ask(DRIVE, order.clone()).await;
    assert_eq!((driven.outcome(), driven.why.as_str()), (DriveOutcome::Driven, ""));
    assert_eq!((driven.verdict(), driven.unparked), (ContractVerdict::Complete, false));
    Violated::check(&house, &violation).await;
    assert_eq!(house.ask::<_, DriveContractResponse>(DRIVE, order.clone()).await, driven);
    let other = DriveContractRequest { reason: "no reason".to_owned(), ..order.clone() };
    let refused = house.refuse::<_, DriveContractResponse>(DRIVE, other).await;
    assert_eq!(refused, "IDEMPOTENCY_MISMATCH");
    let filter =
        LedgerFilter { event_types: vec!["spine.ContractDriven".to_owned()], ..LedgerFilter::default() };
    let list = ListEntriesRequest { filter: Some(filter), ..Default::default() };
    let told: ListEntriesResponse = house.ask("logs.v1.LedgerService/ListEntries", list).await;
    assert_eq!(told.entries.len(), 1, "{told:?}");
}

/// What nobody promised can't be driven.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_driven_that_was_not_promised() {
    let house = House::open().await;
    let refused = house.refuse::<_, DriveContractResponse>(DRIVE, order("export", &new_id())).await;
    assert_eq!(refused, "CONTRACT_NOT_FOUND");
    let (run_id, _) = house.run(1).await;
    let driven: DriveContractResponse = house.ask(DRIVE, order("run", &run_id)).await;
    assert_eq!(driven.outcome(), DriveOutcome::Retry, "a run that goes on is nobody's to end: {driven:?}");
    assert_eq!(house.get(&run_id).await.run.unwrap().status(), RunStatus::Running);
}

/// What was parked is counted, let go on, and done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_promise_is_let_go_on() {
    let house = House::open().await;
    let violation = waiting(&house).await;
    let claim = until_ok(Duration::from_secs(60), || async {
        let claim = ClaimOverdueRequest {
            worker_id: "test".to_owned(),
            limit: 50,
            lease_ms: 30_000,
            request_id: new_id(),
        };
        let claimed: ClaimOverdueResponse =
            house.ask("logs.v1.AuditContractService/ClaimOverdue", claim).await;
        let of_violation = |c: &contracts_logs::v1::ContractClaim| {
            let key = c.contract.as_ref().and_then(|c| c.key.as_ref());
            key.is_some_and(|key| key.saga == "violation")
        };
        claimed.claims.into_iter().find(of_violation).ok_or("not due yet")
    })
    .await;
    let key =
        ContractKey { saga: "violation".to_owned(), subject_id: violation.violation_id.clone(), attempt: 1 };
    let park = ReleaseClaimRequest {
        key: Some(key),
        fence: claim.fence,
        drive_result: DriveResult::Park.into(),
        error_reason: "NODE_DOWN".to_owned(),
    };
    let parked: ReleaseClaimResponse = house.ask("logs.v1.AuditContractService/ReleaseClaim", park).await;
    assert!(parked.parked);
    assert_eq!(status(&house).await.parked_contracts, 1);
    let driven: DriveContractResponse = house.ask(DRIVE, order("violation", &violation.violation_id)).await;
    assert_eq!((driven.outcome(), driven.unparked), (DriveOutcome::Driven, true), "{driven:?}");
    assert_eq!(driven.verdict(), ContractVerdict::Incomplete, "done, and late: an auditor forgives nothing");
    assert_eq!(incidents(&house, &violation.run_id, TriggerType::PolicyViolation).await.len(), 1);
    assert_eq!(status(&house).await.parked_contracts, 0);
}
