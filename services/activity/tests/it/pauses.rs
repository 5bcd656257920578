//! Pauses: reasons stack, the lease stands still, deadlines are kept.

use contracts_activity::v1::{self as pb, LapseCause as C, PauseReason as W};
use contracts_common::common::v1::{RunEvent as E, RunPhase as P, RunStatus as S};
use runspine_activity_domain::reasons;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    harness::{House, new_pause, refused},
};

on_both_engines! {
    /// Paused for two reasons, a run goes on only when both are cleared, and then under a new grant.
    async fn reasons_stack(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.after_ms(1_000);
        let first = house.pause(1, W::ManualPause, 1).await;
        assert_eq!(first.transition.as_ref().unwrap().to_status, S::Paused as i32);
        assert_eq!(house.pause(1, W::ManualPause, 1).await, first);
        let same = house.pause(1, W::ManualPause, 2).await;
        assert!(same.existing && same.pause == first.pause && same.transition.is_none());
        let second = house.pause(1, W::Freeze, 3).await;
        assert!(second.transition.is_none());
        let state = house.state(1).await;
        assert!(state.lease_suspended && state.lease.unwrap().expires_at.is_none() && state.run_deadline.is_none());
        assert_eq!(state.pauses.len(), 2);
        house.after_ms(3_000_000);
        assert!(house.renew(1, 1, 4).await.unwrap().suspended);
        let (a, b) = (first.pause.unwrap(), second.pause.unwrap());
        let one = house.clear(1, &[&a], 0, 5).await;
        assert_eq!((one.cleared.len(), one.left.len(), one.transition.is_none()), (1, 1, true));
        let both = house.clear(1, &[&a, &b], 0, 6).await;
        assert_eq!((both.cleared.len(), both.left.len()), (1, 0));
        assert_eq!(both.transition.unwrap().to_status, S::Running as i32);
        let renewed = house.renew(1, 1, 7).await.unwrap();
        assert_eq!((renewed.lease.unwrap().fence, renewed.suspended), (2, false));
        let state = house.state(1).await;
        assert_eq!((state.paused_ms, state.pauses.len()), (3_000_000, 0));
        assert_eq!(house.run(1).await.duration_ms, 1_000);
        assert_eq!(house.view(1).await.pauses.len(), 2);
    }

    /// One warning at 300 s, the end at the deadline, a paused run neither lapses nor times out.
    async fn deadlines_of_pauses(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let paused = house.pause(1, W::ManualPause, 1).await.pause.unwrap();
        house.after_ms(3_299_999);
        assert!(house.claim_lapsed(1, 50).await.is_empty());
        house.after_ms(1);
        let warned = house.claim_lapsed(2, 50).await;
        assert_eq!((warned.len(), warned[0].cause, warned[0].fence), (1, C::PauseExpiring as i32, 1));
        assert_eq!(warned[0].pauses[0].pause_id, paused.pause_id);
        assert!(house.claim_lapsed(3, 50).await.is_empty(), "once");
        house.after_ms(299_999);
        assert!(house.claim_lapsed(4, 50).await.is_empty());
        house.after_ms(1);
        let over = house.claim_lapsed(5, 50).await;
        assert_eq!((over.len(), over[0].cause, over[0].fence), (1, C::PauseExpired as i32, 2));
        let extend = |fence| pb::ExtendPauseRequest {
            run_id: run(1), attempt: 1, pause_id: paused.pause_id.clone(), on_timeout: 1, fence,
        };
        refused(call!(house, store.extend_pause, "ExtendPause", extend(1)), &reasons::STALE_FENCE);
        let longer = call!(house, store.extend_pause, "ExtendPause", extend(2)).unwrap();
        assert_eq!(longer.pause.as_ref().unwrap().deadline.unwrap().seconds, paused.deadline.unwrap().seconds + 3_600);
        assert_eq!(call!(house, store.extend_pause, "ExtendPause", extend(2)).unwrap(), longer);
        house.after_ms(3_599_999);
        assert!(house.claim_lapsed(6, 50).await.is_empty());
        house.after_ms(1);
        let over = house.claim_lapsed(7, 50).await;
        assert_eq!((over.len(), over[0].fence), (1, 3));
        house.clear(1, &[&paused], 3, 8).await;
        let grant = pb::GrantLeaseRequest {
            request_id: crate::harness::key_id(30), run_id: run(1), attempt: 1, holder: "w".into(), ttl_ms: 0,
        };
        assert_eq!(call!(house, store.grant_lease, "GrantLease", grant).unwrap().lease.unwrap().fence, 4);
    }

    /// Only a run that executes can be paused; only three reasons may go on by themselves.
    async fn who_may_be_paused(store: TestStore) {
        let house = House::over(store).await;
        house.create(1).await;
        let add = |number, reason, key| new_pause(number, reason, key);
        refused(call!(house, store.add_pause, "AddPause", add(1, W::ManualPause, 1)), &reasons::ILLEGAL_TRANSITION);
        house.start(2).await;
        let bad = pb::AddPauseRequest { on_timeout: pb::PauseTimeout::Continue as i32, ..add(2, W::Freeze, 2) };
        refused(call!(house, store.add_pause, "AddPause", bad), &runspine_errors::mesh::FIELD_INVALID);
        let moved = pb::AddPauseRequest { expected_sequence: 2, ..add(2, W::Freeze, 3) };
        refused(call!(house, store.add_pause, "AddPause", moved), &reasons::SEQUENCE_MOVED);
        let unknown = pb::ClearPausesRequest {
            request_id: crate::harness::key_id(4), run_id: run(2), attempt: 1,
            pause_ids: vec![crate::harness::key_id(77)], ..Default::default()
        };
        refused(call!(house, store.clear_pauses, "ClearPauses", unknown), &reasons::PAUSE_NOT_FOUND);
        let paused = house.pause(2, W::ManualPause, 5).await.pause.unwrap();
        house.clear(2, &[&paused], 0, 6).await;
        let late = pb::ExtendPauseRequest {
            run_id: run(2), attempt: 1, pause_id: paused.pause_id.clone(), on_timeout: 0, fence: 0,
        };
        refused(call!(house, store.extend_pause, "ExtendPause", late), &reasons::PAUSE_CLOSED);
        house.pause(2, W::PolicyChange, 7).await;
        house.go(2, 6, E::End, P::GovernanceCheck, S::Running).await.unwrap();
        let state = house.state(2).await;
        assert!(state.paused_since.is_none());
    }
}
