//! The lease that a run's holds live by, and the sweeper.

use std::time::Duration;

use contracts_controls::v1 as pb;
use runspine_controls::worker::sweep_once;
use runspine_controls_domain::reasons;
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, daily, refused, settled, step, verdict},
};

fn renewal(house: &House, fence: u64, ms: Option<i64>) -> pb::RenewRunLeaseRequest {
    pb::RenewRunLeaseRequest {
        run_id: run(1),
        attempt: 1,
        fence,
        expires_at: ms.map(|ms| timestamp(house.in_ms(ms))),
        freeze_epoch_seen: 0,
    }
}

on_both_engines! {
    /// A lapsed lease denies at once; 5 s later its holds are gone and its escrow is back, and nothing before.
    async fn a_lapsed_lease_gives_everything_back(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 1_000)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 60)).await.unwrap();
        house.clock.advance(Duration::from_millis(30_000));
        let denied = house.step(step(1, 1, 1)).await.unwrap();
        assert_eq!(verdict(denied.admission.as_ref()), (2, 3, vec!["LEASE_LAPSED".into()]));
        house.clock.advance(Duration::from_millis(4_999));
        assert_eq!(sweep_once(&house.app).await.unwrap(), 0);
        house.clock.advance(Duration::from_millis(1));
        assert_eq!(sweep_once(&house.app).await.unwrap(), 1);
        assert_eq!(sweep_once(&house.app).await.unwrap(), 0);
        let envelope = house.envelope(&limit.limit_id).await;
        assert_eq!((envelope.held, envelope.open_allocations), (0, 0));
        assert_eq!(envelope.period.unwrap().available, 1_000);
        assert_eq!(house.kinds().await.last().unwrap(), "HoldExpired");
        let extend = pb::ExtendRequest { hold: settled(1, 0, 0).hold, ask: 0, extra: None };
        refused(call!(house, budgets.extend, "BudgetService/Extend", extend), &reasons::HOLD_EXPIRED);
        assert_eq!(house.settle(settled(1, 0, 50)).await.unwrap().result, 3);
        assert!(house.verify(&envelope.envelope_id).await.equal);
    }

    /// With the current fence a lapsed lease is revived; what has expired stays so.
    async fn a_lease_is_revived(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 1_000)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 60)).await.unwrap();
        house.clock.advance(Duration::from_secs(40));
        sweep_once(&house.app).await.unwrap();
        let message = renewal(&house, 1, Some(30_000));
        call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", message).unwrap();
        assert_eq!(verdict(house.step(step(1, 1, 60)).await.unwrap().admission.as_ref()).0, 1);
        assert_eq!(house.one::<(i64,)>("SELECT COUNT(*) FROM holds WHERE state = 4").await.0, 1);
    }

    /// A paused run keeps its holds for any time and gives its free escrow back.
    async fn a_paused_run_keeps_its_holds(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 1_000)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 20)).await.unwrap();
        assert_eq!(house.envelope(&limit.limit_id).await.period.unwrap().granted, 50);
        let message = renewal(&house, 1, None);
        call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", message).unwrap();
        assert_eq!(house.envelope(&limit.limit_id).await.period.unwrap().granted, 20);
        house.clock.advance(Duration::from_secs(3_000));
        assert_eq!(sweep_once(&house.app).await.unwrap(), 0);
        assert_eq!(house.settle(settled(1, 0, 20)).await.unwrap().result, 1);
    }

    /// An older fence changes nothing; a newer one replaces the known one.
    async fn an_old_fence_changes_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        let message = renewal(&house, 2, Some(30_000));
        call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", message).unwrap();
        let message = renewal(&house, 1, Some(90_000));
        let old = call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", message);
        refused(old, &reasons::STALE_FENCE);
        refused(house.step(step(1, 0, 1)).await, &reasons::STALE_FENCE);
        assert_eq!(house.one::<(i64,)>("SELECT COUNT(*) FROM holds").await.0, 0);
        let current = pb::AdmitStepRequest { fence: 2, ..step(1, 0, 1) };
        assert_eq!(verdict(house.step(current).await.unwrap().admission.as_ref()).0, 1);
        let message = pb::GetRunBudgetRequest { run_id: run(1), attempt: 0 };
        let budget = call!(house, budgets.get_run_budget, "BudgetService/GetRunBudget", message).unwrap();
        assert_eq!((budget.fence, budget.holds.len(), budget.attempt), (2, 1, 1));
    }
}
