//! Another value of a limit for a time.

use std::time::Duration;

use contracts_common::common::v1::Totals;
use contracts_controls::v1::{self as pb, OverrideState as State};
use runspine_controls_domain::reasons;
use runspine_rpc::{details, timestamp};
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};
use tonic::Status;

use crate::{
    call,
    harness::{House, daily, inner, plain, refused, step, verdict},
};

fn wanted(house: &House, number: u64, limit: &pb::Limit, value: i64) -> pb::RequestOverrideRequest {
    pb::RequestOverrideRequest {
        request_id: test_id(9, number),
        limit_id: limit.limit_id.clone(),
        value,
        ends_at: Some(timestamp(house.in_ms(120_000))),
        reason: "the end of the quarter".into(),
        ..pb::RequestOverrideRequest::default()
    }
}

async fn request(house: &House, message: pb::RequestOverrideRequest) -> Result<pb::Override, Status> {
    let answer = call!(house, overrides.request_override, "OverrideService/RequestOverride", message)?;
    Ok(answer.r#override.unwrap())
}

async fn approve(
    house: &House,
    number: u64,
    subject: &pb::Override,
    by: &str,
) -> Result<pb::Override, Status> {
    let message = pb::ApproveOverrideRequest {
        request_id: test_id(9, number),
        override_id: subject.override_id.clone(),
        expected_version: subject.version,
        note: String::new(),
    };
    let message = house.ask_as(&tenant(1), by, "OverrideService/ApproveOverride", message);
    Ok(inner(house.overrides.clone().approve_override(message).await)?.r#override.unwrap())
}

async fn shown(house: &House, subject: &pb::Override) -> pb::GetOverrideResponse {
    let message = pb::GetOverrideRequest { override_id: subject.override_id.clone() };
    call!(house, overrides.get_override, "OverrideService/GetOverride", message).unwrap()
}

async fn allowed(house: &House, number: u64, index: u32, amount: i64) -> bool {
    let answer = house.step(step(number, index, amount)).await.unwrap();
    verdict(answer.admission.as_ref()).0 == 1
}

/// A run that an override lets go on, once: for the suite of the schema.
/// An override of a limit that holds from now on.
pub async fn raised(house: &House, limit: &pb::Limit, value: i64) {
    let asked = request(house, wanted(house, 950, limit, value)).await.unwrap();
    approve(house, 951, &asked, "lee").await.unwrap();
}

pub async fn used_once(house: &House, number: u64) {
    let limit = house.create(900, daily("overridden", 5)).await;
    let asked = request(house, wanted(house, 901, &limit, 10)).await.unwrap();
    approve(house, 902, &asked, "lee").await.unwrap();
    house.admit(number).await.unwrap();
    assert!(allowed(house, number, 0, 8).await);
}

/// Steps that are admitted one after the other, none of them settled, when an override doubles a value of 2: four, the
/// third of them because of it.
async fn doubled(store: TestStore, spec: pb::LimitSpec) {
    let house = House::over(store).await;
    let limit = house.create(1, spec).await;
    let asked = request(&house, wanted(&house, 2, &limit, 4)).await.unwrap();
    let asked = approve(&house, 3, &asked, "lee").await.unwrap();
    house.admit(1).await.unwrap();
    for index in 0..6_u32 {
        let totals = Some(Totals { steps: i64::from(index), ..Totals::default() });
        let answer = house.step(pb::AdmitStepRequest { totals, ..step(1, index, 0) }).await.unwrap();
        assert_eq!(answer.hold.is_some(), index < 4, "step {index}: {answer:?}");
    }
    let uses = shown(&house, &asked).await.uses;
    assert_eq!(uses.iter().map(|u| u.step_index).collect::<Vec<_>>(), [Some(2)]);
    let message =
        pb::ListBreachesRequest { types: vec![pb::BreachType::Overridden.into()], ..Default::default() };
    let found = call!(house, signals.list_breaches, "SignalService/ListBreaches", message).unwrap().breaches;
    assert_eq!(
        found.iter().map(|b| (b.value, b.limit_value, &b.override_id)).collect::<Vec<_>>(),
        [(3, 2, &asked.override_id)]
    );
    let message = pb::GetRunControlsEvidenceRequest { run_id: run(1), attempt: 1 };
    let evidence =
        call!(house, signals.get_run_controls_evidence, "SignalService/GetRunControlsEvidence", message)
            .unwrap();
    assert_eq!(evidence.override_uses, uses);
    assert!(
        evidence.admissions.iter().all(|a| a.override_ids == [asked.override_id.clone()]),
        "its rows name it"
    );
    house.clock.advance(Duration::from_secs(120));
    house.admit(2).await.unwrap();
    let over = house.step(step(2, 0, 0)).await.unwrap().admission.unwrap();
    assert!(over.override_ids.is_empty());
}

on_both_engines! {
    /// The bucket is as many times its rate as it was.
    async fn a_rate_is_doubled(store: TestStore) {
        let spec = plain("rate", 2, pb::LimitUnit::Requests, 2);
        doubled(store, pb::LimitSpec { window_s: 3_600, ..spec }).await;
    }

    /// Slots beyond the limit's own are given, and stay taken when it ends.
    async fn slots_are_doubled(store: TestStore) {
        doubled(store, plain("slots", 3, pb::LimitUnit::Steps, 2)).await;
    }

    /// Of a threshold the bound that names it is replaced.
    async fn a_threshold_is_doubled(store: TestStore) {
        let params = vec![pb::ThresholdValue { key: "max_steps".into(), value: 2 }];
        let spec = pb::LimitSpec { unit: 0, max_value: 0, params, enforcement: 1, ..plain("steps", 4, pb::LimitUnit::Steps, 2) };
        doubled(store, spec).await;
    }

    /// What is shown of a limit is what holds: the envelope, and the thresholds with their override.
    async fn views_show_what_holds(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 10)).await;
        let params = vec![pb::ThresholdValue { key: "max_steps".into(), value: 20 }];
        let spec = pb::LimitSpec { unit: 0, max_value: 0, params, ..plain("steps", 4, pb::LimitUnit::Steps, 20) };
        let steps = house.create(2, spec).await;
        let held = house.envelope(&limit.limit_id).await.period.unwrap().limit_value;
        for (number, limit, value) in [(3, &limit, 20), (5, &steps, 30)] {
            let asked = request(&house, wanted(&house, number, limit, value)).await.unwrap();
            approve(&house, number + 1, &asked, "lee").await.unwrap();
        }
        assert_eq!((held, house.envelope(&limit.limit_id).await.period.unwrap().limit_value), (10, 20));
        let scope = Some(pb::ScopeTuple::default());
        let message = pb::GetEffectiveThresholdsRequest { scope, run_id: String::new() };
        let operation = "ThresholdService/GetEffectiveThresholds";
        let answer = house.thresholds.clone().get_effective_thresholds(house.ask(operation, message)).await;
        let found = inner(answer).unwrap().thresholds;
        assert_eq!(found.iter().find(|t| t.key == "max_steps").unwrap().value, 30);
        let admitted = house.admit(1).await.unwrap();
        assert_eq!(admitted.thresholds.iter().find(|t| t.key == "max_steps").unwrap().value, 30);
    }

    /// Nobody gets there alone; it begins and ends to the millisecond with no worker running.
    async fn it_holds_from_its_start_to_its_end(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 10)).await;
        house.admit(1).await.unwrap();
        let message = pb::RequestOverrideRequest {
            starts_at: Some(timestamp(house.in_ms(1_000))),
            ends_at: Some(timestamp(house.in_ms(61_000))),
            ..wanted(&house, 2, &limit, 20)
        };
        let asked = request(&house, message.clone()).await.unwrap();
        assert_eq!(request(&house, message).await.unwrap(), asked);
        assert_eq!((asked.state(), asked.approvals_needed, asked.base_value), (State::Pending, 1, 10));
        refused(approve(&house, 3, &asked, "kim").await, &reasons::SELF_APPROVAL);
        let approved = approve(&house, 4, &asked, "lee").await.unwrap();
        assert_eq!((approved.state(), approved.approvals.len()), (State::Approved, 1));
        refused(approve(&house, 5, &approved, "max").await, &reasons::OVERRIDE_TRANSITION_INVALID);
        house.clock.advance(Duration::from_millis(999));
        assert!(!allowed(&house, 1, 0, 15).await);
        house.clock.advance(Duration::from_millis(1));
        assert_eq!(shown(&house, &asked).await.r#override.unwrap().state(), State::Active);
        assert!(allowed(&house, 1, 1, 15).await);
        house.app.tell_overrides().await.unwrap();
        let renew = pb::RenewRunLeaseRequest {
            run_id: run(1), attempt: 1, fence: 1, expires_at: Some(timestamp(house.in_ms(120_000))), freeze_epoch_seen: 0,
        };
        call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", renew).unwrap();
        house.clock.advance(Duration::from_millis(59_999));
        assert!(allowed(&house, 1, 2, 5).await);
        house.clock.advance(Duration::from_millis(1));
        assert!(!allowed(&house, 1, 3, 1).await);
        house.app.tell_overrides().await.unwrap();
        assert_eq!(house.app.tell_overrides().await.unwrap(), 0);
        let kinds = house.kinds().await;
        for (name, times) in [("Requested", 1), ("Approved", 1), ("Activated", 1), ("Expired", 1), ("Consumed", 1)] {
            let told = kinds.iter().filter(|k| **k == format!("Override{name}")).count();
            assert_eq!(told, times, "{name}: {kinds:?}");
        }
    }

    /// One use for each run that it changed an outcome of, named by the answer; none where it changed nothing.
    async fn a_run_uses_it_once(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 10)).await;
        let asked = request(&house, wanted(&house, 2, &limit, 20)).await.unwrap();
        approve(&house, 3, &asked, "lee").await.unwrap();
        house.admit(1).await.unwrap();
        house.admit(2).await.unwrap();
        let within = house.step(step(1, 0, 5)).await.unwrap().admission.unwrap();
        assert_eq!((within.verdict, within.override_ids), (1, vec![asked.override_id.clone()]));
        assert!(shown(&house, &asked).await.uses.is_empty());
        assert!(allowed(&house, 2, 0, 8).await);
        assert!(allowed(&house, 2, 1, 2).await);
        assert!(!allowed(&house, 2, 2, 9).await);
        let uses = shown(&house, &asked).await.uses;
        assert_eq!(uses.len(), 1);
        let used = (uses[0].run_id.clone(), uses[0].step_index, uses[0].value_without, uses[0].value_with);
        assert_eq!(used, (run(2), Some(0), 10, 20));
        let consumed = house.published().await.into_iter().filter(|e| e.r#type == "controls.OverrideConsumed");
        assert_eq!(consumed.map(|e| e.run_id).collect::<Vec<_>>(), [run(2)]);
    }

    /// A tightening refuses what the limit itself would let through, and that is a use too.
    async fn a_tightening_is_an_override_too(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 10)).await;
        let asked = request(&house, wanted(&house, 2, &limit, 3)).await.unwrap();
        approve(&house, 3, &asked, "lee").await.unwrap();
        house.admit(1).await.unwrap();
        assert!(!allowed(&house, 1, 0, 5).await);
        assert_eq!(shown(&house, &asked).await.uses.len(), 1);
        let cancel = pb::CancelOverrideRequest {
            request_id: test_id(9, 4), override_id: asked.override_id.clone(), reason: "it was too tight".into(),
        };
        let stranger = house.ask_as(&tenant(1), "ann", "OverrideService/CancelOverride", cancel.clone());
        refused(house.overrides.clone().cancel_override(stranger).await, &reasons::OVERRIDE_PARTY_REQUIRED);
        let cancelled = call!(house, overrides.cancel_override, "OverrideService/CancelOverride", cancel).unwrap();
        assert_eq!(cancelled.r#override.unwrap().state(), State::Cancelled);
        assert!(allowed(&house, 1, 1, 5).await);
    }

    /// Twice the value needs two approvers; the second on one limit and the sixth open one are refused.
    async fn they_do_not_stack(store: TestStore) {
        let house = House::over(store).await;
        let limits = [
            house.create(1, daily("a", 10)).await, house.create(2, daily("b", 10)).await,
            house.create(3, daily("c", 10)).await, house.create(4, daily("d", 10)).await,
            house.create(5, daily("e", 10)).await, house.create(6, daily("f", 10)).await,
        ];
        let first = request(&house, wanted(&house, 10, &limits[0], 21)).await.unwrap();
        assert_eq!(first.approvals_needed, 2);
        let half = approve(&house, 11, &first, "lee").await.unwrap();
        assert_eq!((half.state(), half.version), (State::Pending, 2));
        refused(approve(&house, 12, &half, "lee").await, &reasons::SECOND_PERSON_REQUIRED);
        refused(approve(&house, 13, &first, "max").await, &reasons::VERSION_CONFLICT);
        assert_eq!(approve(&house, 14, &half, "max").await.unwrap().state(), State::Active);
        let again = refused(request(&house, wanted(&house, 20, &limits[0], 5)).await, &reasons::OVERRIDE_OPEN);
        assert_eq!(details(&again).metadata["override_id"], first.override_id);
        for (number, limit) in limits.iter().enumerate().skip(1).take(4) {
            request(&house, wanted(&house, 30 + number as u64, limit, 5)).await.unwrap();
        }
        refused(request(&house, wanted(&house, 40, &limits[5], 5)).await, &reasons::STACKING_EXCEEDED);
        let message = pb::ListOverridesRequest {
            states: vec![State::Pending.into()], page_size: 3, ..pb::ListOverridesRequest::default()
        };
        let page = call!(house, overrides.list_overrides, "OverrideService/ListOverrides", message.clone()).unwrap();
        assert_eq!(page.overrides.len(), 3);
        let message = pb::ListOverridesRequest { page_token: page.next_page_token, ..message };
        let rest = call!(house, overrides.list_overrides, "OverrideService/ListOverrides", message).unwrap();
        assert_eq!((rest.overrides.len(), rest.next_page_token.as_str()), (1, ""));
        house.clock.advance(Duration::from_secs(120));
        request(&house, wanted(&house, 41, &limits[5], 5)).await.unwrap();
    }

    /// What makes no sense is refused, and another tenant's override is not there; a machine decides nothing.
    async fn what_is_refused(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 10)).await;
        refused(request(&house, wanted(&house, 2, &limit, 101)).await, &reasons::AMOUNT_INVALID);
        let unknown = pb::Limit { limit_id: test_id(1, 77), ..limit.clone() };
        refused(request(&house, wanted(&house, 3, &unknown, 11)).await, &reasons::LIMIT_NOT_FOUND);
        let asked = request(&house, wanted(&house, 4, &limit, 11)).await.unwrap();
        let message = pb::GetOverrideRequest { override_id: asked.override_id.clone() };
        let stranger = house.ask_as(&tenant(2), "lee", "OverrideService/GetOverride", message);
        refused(house.overrides.clone().get_override(stranger).await, &reasons::OVERRIDE_NOT_FOUND);
        let reject = pb::RejectOverrideRequest {
            request_id: test_id(9, 5), override_id: asked.override_id.clone(), expected_version: 1,
            reason: "not this quarter".into(),
        };
        let machine = house.ask_machine("OverrideService/RejectOverride", reject.clone());
        refused(house.overrides.clone().reject_override(machine).await, &reasons::HUMAN_REQUIRED);
        let person = house.ask_as(&tenant(1), "lee", "OverrideService/RejectOverride", reject);
        let rejected = inner(house.overrides.clone().reject_override(person).await).unwrap().r#override.unwrap();
        assert_eq!((rejected.state(), rejected.ended_by.unwrap().actor_id.as_str()), (State::Rejected, "lee"));
    }
}
