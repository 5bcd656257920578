//! The kill switch.

use std::time::Duration;

use contracts_controls::v1 as pb;
use futures::{StreamExt as _, future::join_all};
use runspine_controls_domain::reasons;
use runspine_rpc::{details, timestamp};
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};
use runspine_types::PLATFORM_TENANT;

use crate::{
    call,
    harness::{House, daily, inner, refused, step, verdict},
};

fn freeze(number: u64, scope: pb::FreezeScope, scope_id: &str) -> pb::FreezeRequest {
    pb::FreezeRequest {
        request_id: test_id(7, number),
        scope: scope as i32,
        scope_id: scope_id.into(),
        reason_code: 1,
        note: "something is wrong".into(),
        ..pb::FreezeRequest::default()
    }
}

/// How many freezes race the steps: few by default; A9.1 asks for `FREEZE_ROUNDS=1000`.
fn rounds() -> u32 {
    std::env::var("FREEZE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(10)
}

fn unfreeze(number: u64, freeze_id: &str) -> pb::RequestUnfreezeRequest {
    pb::RequestUnfreezeRequest {
        request_id: test_id(7, number),
        freeze_id: freeze_id.into(),
        reason: "it is repaired".into(),
    }
}

on_both_engines! {
    /// Frozen in every profile, before every other check; lifted by one person where one is enough.
    async fn a_freeze_stops_its_scope(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 5)).await;
        house.admit(1).await.unwrap();
        let message = freeze(2, pb::FreezeScope::Agent, "agent");
        let frozen = call!(house, freezes.freeze, "FreezeService/Freeze", message.clone()).unwrap();
        assert_eq!(call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap(), frozen);
        let frozen = frozen.freeze.unwrap();
        assert_eq!((frozen.epoch, frozen.state, frozen.runs_in_scope), (1, 1, 1));
        let again = freeze(3, pb::FreezeScope::Agent, "agent");
        let status = refused(call!(house, freezes.freeze, "FreezeService/Freeze", again), &reasons::ALREADY_FROZEN);
        assert_eq!(details(&status).metadata["freeze_id"], frozen.freeze_id);
        let denied = house.step(pb::AdmitStepRequest { profile: 3, ..step(1, 0, 100) }).await.unwrap();
        assert_eq!(verdict(denied.admission.as_ref()), (2, 3, vec!["FROZEN".into()]));
        assert_eq!(denied.admission.as_ref().unwrap().freeze_epoch, 1);
        assert_eq!(denied.admission.unwrap().reasons[0].precedence, -4);
        assert_eq!(verdict(house.admit(2).await.unwrap().admission.as_ref()).0, 2);
        let renew = pb::RenewRunLeaseRequest { run_id: run(1), attempt: 1, fence: 1, expires_at: None, freeze_epoch_seen: 0 };
        let renewed = call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", renew).unwrap();
        assert_eq!((renewed.freeze_epoch, renewed.directive, renewed.reasons.len()), (1, 3, 1));
        let lifted = call!(house, freezes.request_unfreeze, "FreezeService/RequestUnfreeze", unfreeze(4, &frozen.freeze_id));
        let lifted = lifted.unwrap();
        assert_eq!((lifted.second_person_required, lifted.freeze.unwrap().lifted_epoch), (false, 2));
        let twice = call!(house, freezes.request_unfreeze, "FreezeService/RequestUnfreeze", unfreeze(5, &frozen.freeze_id));
        refused(twice, &reasons::NOT_FROZEN);
        assert_eq!(verdict(house.step(step(1, 1, 1)).await.unwrap().admission.as_ref()).0, 1);
        let kinds = house.kinds().await;
        assert!(kinds.contains(&"FreezeActivated".into()) && kinds.contains(&"FreezeLifted".into()));
    }

    /// One person can't lift the freeze of a tenant; the mesh is an operator's.
    async fn large_freezes_need_two(store: TestStore) {
        let house = House::over(store).await;
        let message = freeze(1, pb::FreezeScope::Tenant, "");
        let frozen = call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap().freeze.unwrap();
        let wish = call!(house, freezes.request_unfreeze, "FreezeService/RequestUnfreeze", unfreeze(2, &frozen.freeze_id));
        let wish = wish.unwrap();
        assert!(wish.second_person_required);
        let record = wish.freeze.unwrap();
        assert_eq!(record.state, 1);
        let unfreeze_id = record.unfreeze.unwrap().unfreeze_id;
        let approve = |number: u64, unfreeze_id: &str| pb::ApproveUnfreezeRequest {
            request_id: test_id(7, number),
            freeze_id: frozen.freeze_id.clone(),
            unfreeze_id: unfreeze_id.to_owned(),
        };
        let own = call!(house, freezes.approve_unfreeze, "FreezeService/ApproveUnfreeze", approve(3, &unfreeze_id));
        refused(own, &reasons::SELF_APPROVAL);
        let unknown = call!(house, freezes.approve_unfreeze, "FreezeService/ApproveUnfreeze", approve(4, &test_id(8, 1)));
        refused(unknown, &reasons::SECOND_PERSON_REQUIRED);
        let second = house.ask_as(&tenant(1), "lee", "FreezeService/ApproveUnfreeze", approve(5, &unfreeze_id));
        let lifted = inner(house.freezes.clone().approve_unfreeze(second).await).unwrap().freeze.unwrap();
        assert_eq!((lifted.state, lifted.lifted_by.as_str()), (2, "lee"));
        let mesh = freeze(6, pb::FreezeScope::Mesh, "");
        let by_tenant = call!(house, freezes.freeze, "FreezeService/Freeze", mesh.clone());
        refused(by_tenant, &reasons::OPERATOR_REQUIRED);
        let operator = house.ask_as(PLATFORM_TENANT, "op", "FreezeService/Freeze", mesh);
        house.freezes.clone().freeze(operator).await.unwrap();
        assert_eq!(verdict(house.admit(1).await.unwrap().admission.as_ref()).2, ["FROZEN"]);
        let message = pb::ListFreezesRequest { states: vec![1], ..pb::ListFreezesRequest::default() };
        let active = call!(house, freezes.list_freezes, "FreezeService/ListFreezes", message).unwrap().freezes;
        assert_eq!(active.iter().map(|f| f.scope).collect::<Vec<_>>(), [1]);
        let message = pb::GetFreezeRequest { freeze_id: frozen.freeze_id.clone() };
        let other = house.ask_as(&tenant(2), "lee", "FreezeService/GetFreeze", message);
        refused(house.freezes.clone().get_freeze(other).await, &reasons::FREEZE_NOT_FOUND);
    }

    /// An expired freeze stops nobody, with no worker running, and makes room for the next.
    async fn a_freeze_ends_by_itself(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        let ends = Some(timestamp(house.in_ms(1_000)));
        let message = pb::FreezeRequest { expires_at: ends, effect: 2, ..freeze(1, pb::FreezeScope::Run, &run(1)) };
        call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap();
        assert_eq!(verdict(house.step(step(1, 0, 1)).await.unwrap().admission.as_ref()).1, 2, "PAUSE");
        house.clock.advance(Duration::from_millis(1_000));
        assert_eq!(verdict(house.step(step(1, 1, 1)).await.unwrap().admission.as_ref()).0, 1);
        let again = freeze(2, pb::FreezeScope::Run, &run(1));
        call!(house, freezes.freeze, "FreezeService/Freeze", again).unwrap();
        let message = pb::ListFreezesRequest { states: vec![3], ..pb::ListFreezesRequest::default() };
        let expired = call!(house, freezes.list_freezes, "FreezeService/ListFreezes", message).unwrap().freezes;
        assert_eq!(expired.len(), 1);
    }

    /// A9.1: steps and freezes at the same time: no admission at or after the epoch of a freeze allows.
    async fn no_step_passes_a_freeze(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        for round in 0..rounds() {
            let steps = (0..24_u32).map(|n| house.step(step(1, round * 24 + n, 1)));
            let message = freeze(u64::from(round) * 2 + 10, pb::FreezeScope::Run, &run(1));
            let freezing = async {
                tokio::task::yield_now().await;
                call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap().freeze.unwrap()
            };
            let (answers, frozen) = futures::join!(join_all(steps), freezing);
            for answer in answers {
                let admission = answer.unwrap().admission.unwrap();
                assert_eq!(admission.verdict == 1, admission.freeze_epoch < frozen.epoch, "{admission:?}");
            }
            let message = unfreeze(u64::from(round) * 2 + 11, &frozen.freeze_id);
            call!(house, freezes.request_unfreeze, "FreezeService/RequestUnfreeze", message).unwrap();
        }
    }

    /// A replica gets everything that is active at once, then each change, and a heartbeat in between.
    async fn replicas_watch_the_epoch(store: TestStore) {
        let house = House::over(store).await;
        let message = freeze(1, pb::FreezeScope::Project, "p");
        call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap();
        let message = pb::WatchEpochRequest { replica: "spine-1".into(), from_epoch: 0 };
        let mut stream = call!(house, freezes.watch_epoch, "FreezeService/WatchEpoch", message).unwrap();
        let first = stream.next().await.unwrap().unwrap();
        assert_eq!((first.kind, first.epoch, first.freezes.len()), (1, 1, 1));
        let other = house.ask_as(&tenant(2), "lee", "FreezeService/Freeze", freeze(2, pb::FreezeScope::Tenant, ""));
        house.freezes.clone().freeze(other).await.unwrap();
        let change = loop {
            let message = stream.next().await.unwrap().unwrap();
            if message.kind != 3 {
                break message;
            }
        };
        assert_eq!((change.kind, change.epoch, change.freezes.len()), (2, 2, 2));
        let beat = stream.next().await.unwrap().unwrap();
        assert_eq!((beat.kind, beat.epoch, beat.freezes.len()), (3, 2, 0));
    }
}
