//! Named leases.

use std::time::Duration;

use contracts_controls::v1 as pb;
use futures::future::join_all;
use runspine_controls_domain::reasons;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, tenant};

use crate::{
    call,
    harness::{House, inner, refused},
};

async fn acquire(house: &House, holder: &str) -> (pb::NamedLease, bool) {
    let message = pb::AcquireLeaseRequest { name: "retention".into(), holder: holder.into(), ttl_ms: 10_000 };
    let answer =
        call!(house, coordination.acquire_lease, "CoordinationService/AcquireLease", message).unwrap();
    (answer.lease.unwrap(), answer.held)
}

fn release(holder: &str, fence: u64) -> pb::ReleaseLeaseRequest {
    pb::ReleaseLeaseRequest { name: "retention".into(), holder: holder.into(), fence, done_at: None }
}

on_both_engines! {
    /// Of many replicas that ask at once one is granted the lease.
    async fn one_of_many_gets_it(store: TestStore) {
        let house = House::over(store).await;
        let names: Vec<String> = (0..16).map(|n| format!("spine-{n}")).collect();
        let answers = join_all(names.iter().map(|name| acquire(&house, name))).await;
        assert_eq!(answers.iter().filter(|(_, held)| !held).count(), 1);
        assert!(answers.iter().all(|(lease, _)| lease.fence == 1));
    }

    /// Renewed, lapsed, taken over, given back: an old holder moves nothing, and what was done stays known.
    async fn a_lease_from_hand_to_hand(store: TestStore) {
        let house = House::over(store).await;
        let renew = |holder: &str, fence| pb::RenewLeaseRequest {
            name: "retention".into(), holder: holder.into(), ttl_ms: 10_000, fence,
        };
        let unknown = call!(house, coordination.renew_lease, "CoordinationService/RenewLease", renew("a", 1));
        refused(unknown, &reasons::LEASE_NOT_FOUND);
        assert_eq!(acquire(&house, "a").await.0.fence, 1);
        house.clock.advance(Duration::from_millis(9_999));
        let renewed = call!(house, coordination.renew_lease, "CoordinationService/RenewLease", renew("a", 1)).unwrap();
        assert_eq!(renewed.lease.unwrap().expires_at, Some(timestamp(house.in_ms(10_000))));
        assert!(acquire(&house, "b").await.1);
        house.clock.advance(Duration::from_millis(10_000));
        let late = call!(house, coordination.renew_lease, "CoordinationService/RenewLease", renew("a", 1));
        refused(late, &reasons::STALE_FENCE);
        assert_eq!(acquire(&house, "b").await.0.fence, 2);
        let foreign = call!(house, coordination.release_lease, "CoordinationService/ReleaseLease", release("a", 1));
        refused(foreign, &reasons::STALE_FENCE);
        let done_at = Some(timestamp(house.in_ms(0)));
        let message = pb::ReleaseLeaseRequest { done_at, ..release("b", 2) };
        for _ in 0..2 {
            let given = call!(house, coordination.release_lease, "CoordinationService/ReleaseLease", message.clone());
            let given = given.unwrap().lease.unwrap();
            assert_eq!((given.holder.as_str(), given.last_done), ("", done_at));
        }
        let (next, held) = acquire(&house, "a").await;
        assert_eq!((next.fence, next.last_done, held), (3, done_at, false));
        let message = pb::AcquireLeaseRequest { name: "retention".into(), holder: "c".into(), ttl_ms: 10_000 };
        let other = house.ask_as(&tenant(2), "lee", "CoordinationService/AcquireLease", message);
        let other = inner(house.coordination.clone().acquire_lease(other).await).unwrap();
        assert!(!other.held, "another tenant's lease has nothing to do with it");
    }
}
