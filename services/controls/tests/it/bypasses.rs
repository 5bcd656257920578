//! Bypasses of rules by two persons.

use std::time::Duration;

use contracts_controls::v1::{self as pb, BypassState as State};
use futures::StreamExt as _;
use runspine_controls_domain::reasons;
use runspine_errors::mesh;
use runspine_rpc::details;
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};
use tonic::Status;

use crate::{
    call,
    harness::{House, inner, refused, step},
};

fn wanted(number: u64, scope: pb::BypassScope, scope_id: &str) -> pb::RequestBypassRequest {
    pb::RequestBypassRequest {
        request_id: test_id(8, number),
        scope: scope.into(),
        scope_id: scope_id.into(),
        duration_s: 900,
        reason: "the payment provider moved its hosts".into(),
        ticket: "INC-7".into(),
        ..pb::RequestBypassRequest::default()
    }
}

fn of_agent(number: u64) -> pb::RequestBypassRequest {
    wanted(number, pb::BypassScope::Agent, "agent")
}

async fn request(house: &House, message: pb::RequestBypassRequest) -> Result<pb::Bypass, Status> {
    let answer = call!(house, bypasses.request_bypass, "BypassService/RequestBypass", message)?;
    Ok(answer.bypass.unwrap())
}

async fn approve(house: &House, number: u64, id: &str, by: &str) -> Result<pb::Bypass, Status> {
    let message = pb::ApproveBypassRequest {
        request_id: test_id(8, number),
        bypass_id: id.into(),
        note: String::new(),
    };
    let message = house.ask_as(&tenant(1), by, "BypassService/ApproveBypass", message);
    Ok(inner(house.bypasses.clone().approve_bypass(message).await)?.bypass.unwrap())
}

async fn active(house: &House, number: u64) -> pb::Bypass {
    let asked = request(house, of_agent(number)).await.unwrap();
    approve(house, number + 1, &asked.bypass_id, "lee").await.unwrap()
}

async fn shown(house: &House, id: &str) -> pb::GetBypassResponse {
    let message = pb::GetBypassRequest { bypass_id: id.into() };
    call!(house, bypasses.get_bypass, "BypassService/GetBypass", message).unwrap()
}

/// Whether the admission of a step confirms a bypass.
async fn confirmed(house: &House, number: u64, index: u32, id: &str) -> bool {
    let message = pb::AdmitStepRequest { bypass_id: id.into(), ..step(number, index, 0) };
    house.step(message).await.unwrap().admission.unwrap().bypass_confirmed
}

fn used(number: u64, id: &str) -> pb::RecordBypassUseRequest {
    pb::RecordBypassUseRequest {
        bypass_id: id.into(),
        run_id: run(number),
        attempt: 1,
        step_index: 0,
        ask: 0,
        decision_id: "decision".into(),
        rule_ids: vec!["rule-1".into(), "rule-2".into()],
    }
}

/// A step that a bypass lets pass: for the suite of the schema.
pub async fn used_once(house: &House, number: u64) {
    let bypass = active(house, 900).await;
    let message = used(number, &bypass.bypass_id);
    call!(house, bypasses.record_bypass_use, "BypassService/RecordBypassUse", message).unwrap();
}

on_both_engines! {
    /// Two persons, one epoch, and not a moment beyond its time; the steps that passed stand with it.
    async fn two_persons_and_a_short_time(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        let asked = request(&house, of_agent(1)).await.unwrap();
        assert_eq!(request(&house, of_agent(1)).await.unwrap(), asked);
        assert_eq!((asked.state(), asked.epoch), (State::Requested, 0));
        assert!(!confirmed(&house, 1, 0, &asked.bypass_id).await, "one person is not enough");
        refused(approve(&house, 2, &asked.bypass_id, "kim").await, &reasons::SELF_APPROVAL);
        let held = approve(&house, 3, &asked.bypass_id, "lee").await.unwrap();
        assert_eq!((held.state(), held.epoch, held.decided_by.as_str()), (State::Active, 1, "lee"));
        assert!(confirmed(&house, 1, 1, &held.bypass_id).await);
        assert!(!confirmed(&house, 1, 2, "").await, "what nobody names is not confirmed");
        for _ in 0..2 {
            let message = used(1, &held.bypass_id);
            let noted = call!(house, bypasses.record_bypass_use, "BypassService/RecordBypassUse", message);
            assert_eq!(noted.unwrap().bypass.unwrap().requested_by, "kim");
        }
        let other = pb::RecordBypassUseRequest { rule_ids: vec!["rule-3".into()], ..used(1, &held.bypass_id) };
        let other = call!(house, bypasses.record_bypass_use, "BypassService/RecordBypassUse", other);
        refused(other, &mesh::IDEMPOTENCY_MISMATCH);
        let uses = shown(&house, &held.bypass_id).await.uses;
        assert_eq!((uses.len(), uses[0].rule_ids.len(), uses[0].run_id.clone()), (1, 2, run(1)));
        house.clock.advance(Duration::from_secs(899));
        let renew = pb::RenewRunLeaseRequest {
            run_id: run(1), attempt: 1, fence: 1, expires_at: None, freeze_epoch_seen: 0,
        };
        call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", renew).unwrap();
        assert!(confirmed(&house, 1, 3, &held.bypass_id).await);
        house.clock.advance(Duration::from_millis(1_001));
        assert!(!confirmed(&house, 1, 4, &held.bypass_id).await, "900 s + 1 ms");
        let late = pb::RecordBypassUseRequest { step_index: 4, ..used(1, &held.bypass_id) };
        let late = call!(house, bypasses.record_bypass_use, "BypassService/RecordBypassUse", late);
        refused(late, &reasons::BYPASS_TRANSITION_INVALID);
        assert_eq!(house.app.tell_bypasses().await.unwrap(), 1);
        assert_eq!(house.app.tell_bypasses().await.unwrap(), 0);
        let kinds = house.kinds().await;
        for name in ["Requested", "Activated", "Used", "Ended"] {
            let told = kinds.iter().filter(|k| **k == format!("Bypass{name}")).count();
            assert_eq!(told, 1, "{name}: {kinds:?}");
        }
    }

    /// Anybody who may approve ends it at once, and who follows the epoch hears of both.
    async fn it_is_revoked_at_once(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        let held = active(&house, 1).await;
        let watch = house.ask("FreezeService/WatchEpoch", pb::WatchEpochRequest { replica: "s".into(), from_epoch: 0 });
        let mut said = house.freezes.clone().watch_epoch(watch).await.unwrap().into_inner();
        let first = said.next().await.unwrap().unwrap();
        assert_eq!((first.epoch, first.bypasses), (1, vec![held.clone()]));
        let message = pb::RevokeBypassRequest {
            request_id: test_id(8, 3), bypass_id: held.bypass_id.clone(), reason: "it was not needed".into(),
        };
        let revoked = call!(house, bypasses.revoke_bypass, "BypassService/RevokeBypass", message).unwrap().bypass.unwrap();
        assert_eq!((revoked.state(), revoked.revoked_by.as_str()), (State::Revoked, "kim"));
        assert!(!confirmed(&house, 1, 0, &held.bypass_id).await);
        loop {
            let next = said.next().await.unwrap().unwrap();
            if next.kind() == pb::WatchKind::Change {
                assert_eq!((next.epoch, next.bypasses.len()), (2, 0));
                break;
            }
        }
    }

    /// Another scope is not covered, and a freeze in the same scope still denies.
    async fn it_is_narrow(store: TestStore) {
        let house = House::over(store).await;
        house.admit(1).await.unwrap();
        house.admit(2).await.unwrap();
        let asked = request(&house, wanted(1, pb::BypassScope::Run, &run(1))).await.unwrap();
        let held = approve(&house, 2, &asked.bypass_id, "lee").await.unwrap();
        assert!(confirmed(&house, 1, 0, &held.bypass_id).await);
        assert!(!confirmed(&house, 2, 0, &held.bypass_id).await);
        let message = pb::FreezeRequest {
            request_id: test_id(8, 3), scope: pb::FreezeScope::Run.into(), scope_id: run(1), reason_code: 1,
            note: "something is wrong".into(), ..pb::FreezeRequest::default()
        };
        call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap();
        let message = pb::AdmitStepRequest { bypass_id: held.bypass_id.clone(), ..step(1, 1, 0) };
        assert_eq!(house.step(message).await.unwrap().admission.unwrap().reasons[0].code, "FROZEN");
    }

    /// One of a scope at a time, five a day; what a person rejects takes no place.
    async fn five_a_day(store: TestStore) {
        let house = House::over(store).await;
        for number in 0..5 {
            let held = active(&house, 10 * number).await;
            let again = refused(request(&house, of_agent(10 * number + 5)).await, &reasons::BYPASS_OPEN);
            assert_eq!(details(&again).metadata["bypass_id"], held.bypass_id);
            house.clock.advance(Duration::from_secs(900));
        }
        refused(request(&house, of_agent(60)).await, &reasons::BYPASS_QUOTA);
        let message = pb::ListBypassesRequest { states: vec![State::Expired.into()], page_size: 3, ..Default::default() };
        let page = call!(house, bypasses.list_bypasses, "BypassService/ListBypasses", message.clone()).unwrap();
        let message = pb::ListBypassesRequest { page_token: page.next_page_token, ..message };
        let rest = call!(house, bypasses.list_bypasses, "BypassService/ListBypasses", message).unwrap();
        assert_eq!((page.bypasses.len(), rest.bypasses.len(), rest.next_page_token.as_str()), (3, 2, ""));
        house.clock.advance(Duration::from_secs(86_400 - 4_500));
        let asked = request(&house, of_agent(61)).await.unwrap();
        let message = pb::RejectBypassRequest {
            request_id: test_id(8, 62), bypass_id: asked.bypass_id.clone(), reason: "change the rule instead".into(),
        };
        let own = call!(house, bypasses.reject_bypass, "BypassService/RejectBypass", message.clone());
        refused(own, &reasons::SELF_APPROVAL);
        let person = house.ask_as(&tenant(1), "lee", "BypassService/RejectBypass", message);
        let rejected = inner(house.bypasses.clone().reject_bypass(person).await).unwrap().bypass.unwrap();
        assert_eq!(rejected.state(), State::Rejected);
        request(&house, of_agent(63)).await.unwrap();
    }

    /// A machine asks for nothing, another tenant sees nothing, and what is out of range is named.
    async fn what_no_bypass_is(store: TestStore) {
        let house = House::over(store).await;
        let machine = house.ask_machine("BypassService/RequestBypass", of_agent(1));
        refused(house.bypasses.clone().request_bypass(machine).await, &reasons::HUMAN_REQUIRED);
        for duration_s in [59, 901] {
            let message = pb::RequestBypassRequest { duration_s, ..of_agent(2) };
            refused(request(&house, message).await, &reasons::DURATION_INVALID);
        }
        let short = pb::RequestBypassRequest { reason: "too short".into(), ticket: String::new(), ..of_agent(3) };
        assert_eq!(details(&refused(request(&house, short).await, &mesh::FIELD_INVALID)).fields.len(), 2);
        let mute = pb::RequestBypassRequest { reason: "  ".into(), ..of_agent(5) };
        refused(request(&house, mute).await, &reasons::REASON_REQUIRED);
        let held = active(&house, 4).await;
        let message = pb::GetBypassRequest { bypass_id: held.bypass_id.clone() };
        let stranger = house.ask_as(&tenant(2), "lee", "BypassService/GetBypass", message);
        refused(house.bypasses.clone().get_bypass(stranger).await, &reasons::BYPASS_NOT_FOUND);
        refused(approve(&house, 9, &held.bypass_id, "max").await, &reasons::BYPASS_TRANSITION_INVALID);
    }
}
