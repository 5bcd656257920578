//! Leases: one holder, by the store's clock.

use contracts_activity::v1 as pb;
use contracts_common::common::v1::{RunEvent as E, RunPhase as P, RunStatus as S, TerminationReason as R};
use runspine_activity_domain::reasons;
use runspine_errors::mesh;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, failure, key_id, mv, refused},
};

fn grant(number: u64, holder: &str, key: u64) -> pb::GrantLeaseRequest {
    pb::GrantLeaseRequest {
        request_id: key_id(key),
        run_id: run(number),
        attempt: 1,
        holder: holder.into(),
        ttl_ms: 0,
    }
}

on_both_engines! {
    /// A holder that sleeps for its ttl can neither renew, nor move, nor finish.
    async fn a_lapsed_holder_has_lost_the_run(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.after_ms(29_999);
        let renewed = house.renew(1, 1, 1).await.unwrap();
        house.after_ms(10_000);
        assert_eq!(house.renew(1, 1, 1).await.unwrap(), renewed, "the key's first answer");
        house.after_ms(19_999);
        assert!(house.renew(1, 1, 2).await.is_ok());
        house.after_ms(30_000);
        refused(house.renew(1, 1, 3).await, &reasons::LEASE_LAPSED);
        let end = pb::TransitionRunRequest { fence: 1, ..mv(1, 1, 3, E::End, P::GovernanceCheck, S::Running) };
        refused(house.transition(end).await, &reasons::LEASE_LAPSED);
        let finish = pb::FinishRunRequest { fence: 1, ..failure(1, 1, S::Failed, R::SystemFailure, E::Fail) };
        refused(house.finish(finish).await, &reasons::LEASE_LAPSED);
        refused(call!(house, store.grant_lease, "GrantLease", grant(1, "v", 9)), &reasons::LEASE_LAPSED);
    }

    /// Fences grow, holders change, keys repeat.
    async fn fences_grow(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        refused(call!(house, store.grant_lease, "GrantLease", grant(1, "v", 1)), &reasons::LEASE_HELD);
        refused(house.renew(1, 2, 2).await, &reasons::STALE_FENCE);
        refused(house.renew(7, 1, 2).await, &reasons::RUN_NOT_FOUND);
        house.renew(1, 1, 3).await.unwrap();
        let other = pb::RenewLeaseRequest { request_id: key_id(3), run_id: run(1), attempt: 1, holder: "w".into(), ttl_ms: 5_000, fence: 1 };
        refused(call!(house, store.renew_lease, "RenewLease", other.clone()), &mesh::IDEMPOTENCY_MISMATCH);
        let short = pb::RenewLeaseRequest { request_id: key_id(4), ttl_ms: 4_999, ..other };
        refused(call!(house, store.renew_lease, "RenewLease", short), &reasons::TTL_OUT_OF_RANGE);
        let release = pb::ReleaseLeaseRequest { request_id: key_id(5), run_id: run(1), attempt: 1, fence: 1 };
        assert!(call!(house, store.release_lease, "ReleaseLease", release.clone()).unwrap().released);
        assert!(call!(house, store.release_lease, "ReleaseLease", release).unwrap().released);
        refused(house.renew(1, 1, 6).await, &reasons::LEASE_NOT_FOUND);
        let granted = call!(house, store.grant_lease, "GrantLease", grant(1, "v", 7)).unwrap();
        assert_eq!(granted.lease.as_ref().unwrap().fence, 2);
        house.after_ms(100);
        assert_eq!(call!(house, store.grant_lease, "GrantLease", grant(1, "v", 7)).unwrap(), granted);
        house.create(2).await;
        refused(call!(house, store.grant_lease, "GrantLease", grant(2, "v", 8)), &reasons::LEASE_NOT_GRANTABLE);
    }

    /// Many renewals that wait together are answered each for itself.
    async fn renewals_are_batched(store: TestStore) {
        let house = House::over(store).await;
        for number in 1..=40 {
            house.start(number).await;
        }
        house.after_ms(10_000);
        let calls = (1..=41).map(|number| house.renew(number, if number == 13 { 9 } else { 1 }, number));
        let answers = futures::future::join_all(calls).await;
        let (mut renewed, mut refusals) = (0, 0);
        for answer in answers {
            match answer {
                Ok(answer) => {
                    let at = answer.lease.unwrap().expires_at.unwrap();
                    assert_eq!(at.seconds, crate::harness::START.0 / 1_000_000 + 40);
                    renewed += 1;
                }
                Err(_) => refusals += 1,
            }
        }
        assert_eq!((renewed, refusals), (39, 2));
        house.after_ms(20_001);
        let lapsed = house.claim_lapsed(1, 200).await;
        assert_eq!(lapsed.len(), 1, "only the one that was refused");
        assert_eq!(lapsed[0].run_id, run(13));
    }

    /// A step never reads a state that is older than the newest answered write.
    async fn what_a_step_reads_is_never_old(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        for key in 1..=50 {
            house.after_ms(1);
            let reads = async { for _ in 0..5 { house.state(1).await; } };
            let (renewed, ()) = tokio::join!(house.renew(1, 1, key), reads);
            assert_eq!(house.state(1).await.lease, renewed.unwrap().lease);
        }
    }
}
