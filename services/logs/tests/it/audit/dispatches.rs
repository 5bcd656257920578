//! Dispatch records through their RPCs.

use contracts_logs::v1::{self as pb, DispatchAuthority, DispatchOutcome};
use runspine_testkit::{TestStore, assert_append_only, on_both_engines, run, tenant, test_id};
use tonic::Status;

use super::harness::*;

fn record(number: u64, outcome: DispatchOutcome) -> pb::DispatchRecord {
    pb::DispatchRecord {
        dispatch_id: test_id(7, number),
        operation: format!("runspine.spine.v1.RunService/Op{}", number % 2),
        actor: Some(actor(&format!("actor-{}", number % 3))),
        authority: DispatchAuthority::Allowed.into(),
        outcome: outcome.into(),
        run_id: run(number % 2),
        request_digest: vec![7; 32].into(),
        occurred_at: Some(runspine_rpc::timestamp(START.plus_millis(i64::try_from(number / 2).unwrap()))),
        duration_us: 42,
        ..Default::default()
    }
}

async fn append(house: &House, who: Who, dispatches: Vec<pb::DispatchRecord>) -> Result<Vec<String>, Status> {
    let message = pb::AppendDispatchesRequest { dispatches };
    let request = house.ask_as(who, "RecordService/AppendDispatches", message);
    house.records.clone().append_dispatches(request).await.map(|r| r.into_inner().dispatch_ids)
}

async fn list(house: &House, who: Who, filter: pb::DispatchFilter) -> Vec<pb::DispatchRecord> {
    let mut request =
        pb::ListDispatchesRequest { filter: Some(filter), page_size: 3, page_token: String::new() };
    let mut all = Vec::new();
    loop {
        let asked = house.ask_as(who, "RecordService/ListDispatches", request.clone());
        let page = house.records.clone().list_dispatches(asked).await.unwrap().into_inner();
        all.extend(page.dispatches);
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

on_both_engines! {
    /// A record is kept once, whoever delivers it how often; another content under its id changes nothing.
    async fn records_are_kept_once(store: TestStore) {
        let house = House::over(store).await;
        let ours = Who::Tenant(1);
        let batch = |numbers: std::ops::Range<u64>| numbers.map(|n| record(n, DispatchOutcome::Ok)).collect::<Vec<_>>();
        let many = (0..8).map(|_| append(&house, ours, batch(0..5)));
        for answer in futures::future::join_all(many).await {
            assert_eq!(answer.unwrap().len(), 5);
        }
        let mixed = [record(9, DispatchOutcome::Ok), record(1, DispatchOutcome::Failed)].to_vec();
        assert_eq!(reason(append(&house, ours, mixed.clone()).await), "IDEMPOTENCY_MISMATCH");
        let (bad, good) = tokio::join!(append(&house, ours, mixed), append(&house, ours, batch(20..21)));
        assert_eq!((reason(bad).as_str(), good.unwrap().len()), ("IDEMPOTENCY_MISMATCH", 1));
        assert_eq!(list(&house, ours, pb::DispatchFilter::default()).await.len(), 6);
        assert_append_only(&house.db().await, "dispatch_records").await;
    }

    /// Records are found by what they say, newest first.
    async fn records_are_found(store: TestStore) {
        let house = House::over(store).await;
        let ours = Who::Tenant(1);
        let outcome = |n: u64| if n.is_multiple_of(4) { DispatchOutcome::Refused } else { DispatchOutcome::Ok };
        append(&house, ours, (0..10).map(|n| record(n, outcome(n))).collect()).await.unwrap();
        let all = list(&house, ours, pb::DispatchFilter::default()).await;
        let times: Vec<_> = all.iter().map(|d| std::cmp::Reverse(d.occurred_at.unwrap().nanos)).collect();
        assert!(all.len() == 10 && times.is_sorted() && all[0].tenant_id == tenant(1));
        let refused = pb::DispatchFilter { outcome: DispatchOutcome::Refused.into(), ..Default::default() };
        assert_eq!(list(&house, ours, refused).await.len(), 3);
        let of_run = pb::DispatchFilter { run_id: run(1), actor: Some(actor("actor-0")), ..Default::default() };
        assert_eq!(list(&house, ours, of_run).await.len(), 2);
        let since = Some(runspine_rpc::timestamp(START.plus_millis(3)));
        let of_operation = pb::DispatchFilter {
            operation: "runspine.spine.v1.RunService/Op0".into(),
            occurred_from: since,
            authority: DispatchAuthority::Allowed.into(),
            ..Default::default()
        };
        assert_eq!(list(&house, ours, of_operation).await.len(), 2);
        assert_eq!(list(&house, Who::Tenant(2), pb::DispatchFilter::default()).await.len(), 0);
    }

    /// The door writes for several tenants behind one call; nobody else can.
    async fn the_platform_writes_for_others(store: TestStore) {
        let house = House::over(store).await;
        let named = |number, name: &str| pb::DispatchRecord { tenant_id: name.to_owned(), ..record(number, DispatchOutcome::Ok) };
        append(&house, Who::Platform, vec![named(1, &tenant(1)), named(2, &tenant(2)), named(3, "")]).await.unwrap();
        append(&house, Who::Tenant(1), vec![named(4, &tenant(2))]).await.unwrap();
        for (who, count) in [(Who::Tenant(1), 2), (Who::Tenant(2), 1), (Who::Platform, 1)] {
            assert_eq!(list(&house, who, pb::DispatchFilter::default()).await.len(), count);
        }
        let mut wrong = record(5, DispatchOutcome::Unspecified);
        wrong.grpc_code = 17;
        wrong.request_digest = vec![1].into();
        let refused = append(&house, Who::Tenant(1), vec![wrong]).await.unwrap_err();
        assert_eq!(runspine_rpc::details(&refused).fields.len(), 3);
    }
}
