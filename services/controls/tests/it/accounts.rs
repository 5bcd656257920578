//! The account of a run: admission, holds, settles, its end and the undoing of its end.

use contracts_controls::v1 as pb;
use runspine_controls_domain::reasons;
use runspine_errors::mesh;
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};

use crate::{
    call,
    harness::{House, cost, daily, inner, refused, settled, step, verdict},
};

const ALLOW: i32 = 1;
const DENY: i32 = 2;
const DEFER: i32 = 5;
const TERMINATE: i32 = 3;

fn release(number: u64, step_index: Option<u32>, reason: pb::ReleaseReason) -> pb::ReleaseRequest {
    pb::ReleaseRequest {
        hold: Some(pb::HoldRef { run_id: run(number), attempt: 1, step_index, ..pb::HoldRef::default() }),
        reason: reason as i32,
    }
}

on_both_engines! {
    /// From the start of a run to its settlement; every number is explained by the entries.
    async fn a_whole_life(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 10_000)).await;
        let admitted = house.admit(1).await.unwrap();
        assert_eq!(verdict(admitted.admission.as_ref()), (ALLOW, 1, vec![]));
        assert_eq!((admitted.allocations.len(), admitted.allocations[0].granted), (1, 500));
        let allowed = house.step(step(1, 0, 400)).await.unwrap();
        let hold = allowed.hold.unwrap();
        assert_eq!((hold.lines.len(), hold.lines[0].amount, hold.state), (1, 400, 1));
        let done = house.settle(settled(1, 0, 300)).await.unwrap();
        assert_eq!((done.result, done.charged_microusd, done.unfunded_microusd, done.directive), (1, 300, 0, 1));
        assert_eq!(done.hold.unwrap().state, 2);
        house.step(step(1, 1, 100)).await.unwrap();
        let settlement = house.settle_run(1, 1).await.unwrap();
        assert_eq!((settlement.usage.len(), settlement.usage[0].usage, settlement.holds_released), (1, 300, 1));
        assert!(!settlement.nothing_held);
        let envelope = house.envelope(&limit.limit_id).await;
        let period = envelope.period.unwrap();
        assert_eq!((period.settled, period.granted, period.usage, period.available), (300, 0, 300, 9_700));
        assert!(house.verify(&envelope.envelope_id).await.equal);
        let late = house.step(step(1, 2, 1)).await.unwrap();
        assert_eq!(verdict(late.admission.as_ref()), (DENY, TERMINATE, vec!["LEASE_LAPSED".into()]));
        assert_eq!(house.kinds().await, ["LimitCreated", "RunSettled", "AdmissionDenied"]);
    }

    /// The first answer again, byte for byte; another body is refused; one hold is taken.
    async fn every_call_is_keyed(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 10_000)).await;
        let first = house.admit(1).await.unwrap();
        house.clock.advance(std::time::Duration::from_millis(7));
        assert_eq!(house.admit(1).await.unwrap(), first, "readings of a clock are not part of the body");
        let mut other = house.start(1);
        other.requested = Some(cost(9));
        refused(call!(house, admissions.admit_run, "AdmissionService/AdmitRun", other), &mesh::IDEMPOTENCY_MISMATCH);

        let allowed = house.step(step(1, 0, 10)).await.unwrap();
        assert_eq!(house.step(step(1, 0, 10)).await.unwrap(), allowed);
        refused(house.step(step(1, 0, 11)).await, &mesh::IDEMPOTENCY_MISMATCH);
        assert_eq!(house.one::<(i64,)>("SELECT COUNT(*) FROM holds").await.0, 1);

        let done = house.settle(settled(1, 0, 9)).await.unwrap();
        let by_id = pb::SettleRequest {
            hold: Some(pb::HoldRef { hold_id: allowed.hold.unwrap().hold_id, ..pb::HoldRef::default() }),
            ..settled(1, 0, 9)
        };
        assert_eq!(house.settle(by_id).await.unwrap(), done);
        refused(house.settle(settled(1, 0, 8)).await, &mesh::IDEMPOTENCY_MISMATCH);

        let settlement = house.settle_run(1, 1).await.unwrap();
        assert_eq!(house.settle_run(1, 1).await.unwrap(), settlement);
        refused(house.settle_run(1, 8).await, &mesh::IDEMPOTENCY_MISMATCH);
    }

    /// A refusal takes nothing and leaves its evidence, its breach and its event.
    async fn a_refusal_takes_nothing(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        house.admit(1).await.unwrap();
        let refusal = house.step(step(1, 0, 101)).await.unwrap();
        assert_eq!(verdict(refusal.admission.as_ref()), (DENY, 1, vec!["BUDGET_EXCEEDED".into()]));
        assert!(refusal.hold.is_none());
        let reason = &refusal.admission.as_ref().unwrap().reasons[0];
        assert_eq!((reason.check.as_str(), reason.precedence, reason.limit_value), ("LIMITS", -1, Some(100)));
        assert_eq!((&reason.source_id, reason.unit.as_str()), (&limit.limit_id, "COST_MICROUSD"));
        assert_eq!(house.envelope(&limit.limit_id).await.held, 0);
        house.step(step(1, 1, 101)).await.unwrap();
        assert_eq!(house.kinds().await, ["LimitCreated", "AdmissionDenied", "LimitBreached", "SignalRaised", "AdmissionDenied"]);
        let message = pb::GetRunControlsEvidenceRequest { run_id: run(1), attempt: 0 };
        let evidence = call!(house, signals.get_run_controls_evidence, "SignalService/GetRunControlsEvidence", message);
        let evidence = evidence.unwrap();
        assert_eq!((evidence.admissions.len(), evidence.admission_count, evidence.denied_count), (2, 3, 2));
        assert_eq!((evidence.breaches.len(), evidence.breaches[0].r#type, evidence.hold_count), (1, 2, 0));
        let first = &evidence.admissions[0];
        let digest = runspine_types::Hasher::new("runspine.controlinput.v1").sized(&first.inputs).finish();
        assert_eq!(first.inputs_digest.as_ref(), digest.as_bytes());
        assert_eq!(first.limit_ids, [limit.limit_id]);
    }

    /// A run that no limit applies to has holds and evidence all the same.
    async fn without_limits(store: TestStore) {
        let house = House::over(store).await;
        assert!(house.admit(1).await.unwrap().allocations.is_empty());
        let hold = house.step(step(1, 0, 1_000_000)).await.unwrap().hold.unwrap();
        assert!(hold.lines.is_empty());
        assert_eq!(house.settle(settled(1, 0, 5)).await.unwrap().result, 1);
        let settlement = house.settle_run(1, 1).await.unwrap();
        assert!(settlement.usage.is_empty() && !settlement.nothing_held);
        let never = house.settle_run(2, 1).await.unwrap();
        assert!(never.nothing_held, "a run that controls never saw");
        refused(house.step(step(3, 0, 1)).await, &reasons::RUN_LEASE_NOT_FOUND);
    }

    /// What was used beyond the hold and the envelope ends the run, and is booked in full.
    async fn spending_past_the_limit_ends_the_run(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 60)).await.unwrap();
        let done = house.settle(settled(1, 0, 130)).await.unwrap();
        assert_eq!((done.lines[0].funded, done.lines[0].unfunded, done.unfunded_microusd), (100, 30, 30));
        assert_eq!((done.directive, done.reasons[0].code.as_str()), (TERMINATE, "BUDGET_EXCEEDED"));
        assert_eq!((done.signals.len(), done.signals[0].level), (1, 3));
        let envelope = house.envelope(&limit.limit_id).await;
        assert_eq!((envelope.state, envelope.period.unwrap().unfunded), (3, 30));
        assert_eq!(house.kinds().await, [
            "LimitCreated", "LimitBreached", "EnvelopeWarned", "EnvelopeBlocked", "SignalRaised", "SignalRaised",
            "SignalRaised",
        ]);
        assert!(house.verify(&envelope.envelope_id).await.equal);
        let settlement = house.settle_run(1, 3).await.unwrap();
        assert_eq!((settlement.unfunded_microusd, settlement.breaches.len()), (30, 1));
    }

    /// What comes after the end of a hold is charged late: once, and to its own period.
    async fn late_charges(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 1_000)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 60)).await.unwrap();
        let message = release(1, Some(0), pb::ReleaseReason::PolicyDenied);
        let given = call!(house, budgets.release, "BudgetService/Release", message.clone()).unwrap();
        assert_eq!(given.hold.as_ref().unwrap().released_for, "POLICY_DENIED");
        assert_eq!(call!(house, budgets.release, "BudgetService/Release", message).unwrap(), given);
        let other = release(1, Some(0), pb::ReleaseReason::Cancelled);
        refused(call!(house, budgets.release, "BudgetService/Release", other), &mesh::IDEMPOTENCY_MISMATCH);
        let late = house.settle(settled(1, 0, 50)).await.unwrap();
        assert_eq!((late.result, late.hold.as_ref().unwrap().state, late.lines[0].funded), (3, 3, 50));
        assert_eq!(house.settle(settled(1, 0, 50)).await.unwrap(), late);
        let unknown = house.settle(settled(1, 9, 7)).await.unwrap();
        assert_eq!((unknown.result, unknown.hold.is_none()), (3, true));
        assert_eq!(house.settle(settled(1, 9, 7)).await.unwrap(), unknown);
        house.settle_run(1, 1).await.unwrap();
        assert_eq!(house.settle(settled(1, 10, 3)).await.unwrap().result, 3, "also after the end of the run");
        let envelope = house.envelope(&limit.limit_id).await;
        assert_eq!(envelope.period.unwrap().usage, 60);
        assert!(house.verify(&envelope.envelope_id).await.equal);
    }

    /// An ambiguous step keeps its hold; the end of the run charges what the envelope wants, and a reversal takes that
    /// and nothing else back.
    async fn ambiguous_steps_and_reversal(store: TestStore) {
        let house = House::over(store).await;
        let estimate = pb::AmbiguousCharge::Estimate as i32;
        let limit = house.create(1, pb::LimitSpec { ambiguous_charge: estimate, ..daily("day", 1_000) }).await;
        house.admit(1).await.unwrap();
        for index in 0..3 {
            house.step(step(1, index, 60)).await.unwrap();
        }
        house.settle(settled(1, 0, 10)).await.unwrap();
        for index in [1, 2] {
            let unknown = pb::SettleRequest { outcome: 5, ..settled(1, index, 0) };
            let held = house.settle(unknown.clone()).await.unwrap();
            assert_eq!((held.result, held.hold.as_ref().unwrap().state), (2, 1));
            assert_eq!(house.settle(unknown).await.unwrap(), held);
        }
        assert_eq!(house.settle(settled(1, 1, 20)).await.unwrap().result, 1, "the outcome became known");
        let settlement = house.settle_run(1, 1).await.unwrap();
        assert_eq!((settlement.usage[0].usage, settlement.usage[0].estimated), (90, 60));
        let message = pb::ReverseSettlementRequest {
            settlement_id: settlement.settlement_id.clone(),
            saga_id: "saga-1".into(),
            reason: "the saga was compensated".into(),
        };
        let ask = |message| house.ask("BudgetService/ReverseSettlement", message);
        let undone = inner(house.budgets.clone().reverse_settlement(ask(message.clone())).await).unwrap();
        assert_eq!(undone.reversed[0].estimated, 60);
        assert_eq!(inner(house.budgets.clone().reverse_settlement(ask(message.clone())).await).unwrap(), undone);
        let other = pb::ReverseSettlementRequest { saga_id: "saga-2".into(), ..message.clone() };
        refused(house.budgets.clone().reverse_settlement(ask(other)).await, &reasons::SETTLEMENT_REVERSED);
        let unknown = pb::ReverseSettlementRequest { settlement_id: test_id(8, 1), ..message };
        refused(house.budgets.clone().reverse_settlement(ask(unknown)).await, &reasons::SETTLEMENT_NOT_FOUND);
        let envelope = house.envelope(&limit.limit_id).await;
        assert_eq!(envelope.period.unwrap().usage, 30);
        assert!(house.verify(&envelope.envelope_id).await.equal);
        assert_eq!(house.kinds().await.last().unwrap(), "SettlementReversed");
    }

    /// Extensions are counted, keyed, and refused without effect.
    async fn extensions(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        house.admit(1).await.unwrap();
        let hold = house.step(step(1, 0, 10)).await.unwrap().hold.unwrap();
        let extend = |ask: u32, extra: i64| pb::ExtendRequest {
            hold: Some(pb::HoldRef { hold_id: hold.hold_id.clone(), ..pb::HoldRef::default() }),
            ask,
            extra: Some(cost(extra)),
        };
        let first = call!(house, budgets.extend, "BudgetService/Extend", extend(0, 5)).unwrap();
        assert_eq!(first.hold.as_ref().unwrap().lines[0].amount, 15);
        assert_eq!(call!(house, budgets.extend, "BudgetService/Extend", extend(0, 5)).unwrap(), first);
        refused(call!(house, budgets.extend, "BudgetService/Extend", extend(0, 6)), &mesh::IDEMPOTENCY_MISMATCH);
        let refusal = call!(house, budgets.extend, "BudgetService/Extend", extend(1, 86)).unwrap();
        assert_eq!(verdict(refusal.admission.as_ref()).0, DENY);
        assert_eq!(refusal.hold.unwrap().lines[0].amount, 15);
        for ask in 2..17 {
            call!(house, budgets.extend, "BudgetService/Extend", extend(ask, 1)).unwrap();
        }
        refused(call!(house, budgets.extend, "BudgetService/Extend", extend(17, 1)), &reasons::EXTENSIONS_EXCEEDED);
        house.settle(settled(1, 0, 30)).await.unwrap();
        refused(call!(house, budgets.extend, "BudgetService/Extend", extend(18, 1)), &reasons::HOLD_FINALIZED);
        let envelope = house.envelope(&limit.limit_id).await;
        assert_eq!(envelope.held, 0);
        assert!(house.verify(&envelope.envelope_id).await.equal);
    }

    /// OBSERVE_ONLY blocks on nothing: what would have been refused is said, and booked as unfunded.
    async fn observing_blocks_nothing(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        let observed = pb::AdmitRunRequest { profile: 3, requested: Some(cost(500)), ..house.start(1) };
        let admitted = call!(house, admissions.admit_run, "AdmissionService/AdmitRun", observed).unwrap();
        let admission = admitted.admission.unwrap();
        assert_eq!((admission.verdict, admission.would_block.len(), admission.reasons.len()), (ALLOW, 1, 0));
        let observed = pb::AdmitStepRequest { profile: 3, ..step(1, 0, 500) };
        let allowed = house.step(observed).await.unwrap();
        assert!(allowed.hold.unwrap().lines[0].unfunded);
        let done = house.settle(settled(1, 0, 40)).await.unwrap();
        assert_eq!((done.lines[0].funded, done.lines[0].unfunded), (0, 40));
        let period = house.envelope(&limit.limit_id).await.period.unwrap();
        assert_eq!((period.usage, period.unfunded), (0, 40));
    }

    /// QUEUE defers with a time to come back, and denies when the waiting is over.
    async fn a_queue_defers_then_denies(store: TestStore) {
        let house = House::over(store).await;
        let queue = pb::Enforcement::Queue as i32;
        house.create(1, pb::LimitSpec { enforcement: queue, max_wait_s: Some(2), ..daily("day", 100) }).await;
        house.admit(1).await.unwrap();
        let first = house.step(step(1, 0, 200)).await.unwrap();
        assert_eq!(verdict(first.admission.as_ref()).0, DEFER);
        assert_eq!(first.admission.unwrap().retry_after_ms, Some(1_000));
        house.clock.advance(std::time::Duration::from_secs(2));
        let second = house.step(pb::AdmitStepRequest { ask: 1, ..step(1, 0, 200) }).await.unwrap();
        assert_eq!(verdict(second.admission.as_ref()).0, DENY);
    }

    /// A simulation is the admission that follows, and writes nothing.
    async fn a_simulation_leaves_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 100)).await;
        house.create(2, pb::LimitSpec { scope: 10, period: 5, max_value: 50, ..daily("each run", 1) }).await;
        let count = "SELECT (SELECT COUNT(*) FROM run_leases) + (SELECT COUNT(*) FROM envelopes) \
                     + (SELECT COUNT(*) FROM evidence) + (SELECT COUNT(*) FROM budget_entries)";
        let before = house.one::<(i64,)>(count).await.0;
        for (amount, expected) in [(50, ALLOW), (51, DENY)] {
            let start = house.start(1);
            let message = pb::SimulateAdmissionRequest {
                scope: start.scope.clone(),
                amounts: Some(cost(amount)),
                ..pb::SimulateAdmissionRequest::default()
            };
            let simulated = call!(house, admissions.simulate_admission, "AdmissionService/SimulateAdmission", message);
            let simulated = simulated.unwrap();
            assert_eq!(verdict(simulated.admission.as_ref()).0, expected);
            assert_eq!(simulated.headroom.iter().map(|h| h.headroom).collect::<Vec<_>>(), [100, 50]);
        }
        assert_eq!(house.one::<(i64,)>(count).await.0, before);
        assert_eq!(house.kinds().await, ["LimitCreated", "LimitCreated"]);
    }

    /// A step that fits its chunk writes the run's own rows only.
    async fn a_step_within_its_chunk_leaves_the_envelope_alone(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 1_000_000)).await;
        house.admit(1).await.unwrap();
        let before = house.envelope(&limit.limit_id).await.period.unwrap();
        for index in 0..20 {
            house.step(step(1, index, 100)).await.unwrap();
            house.settle(settled(1, index, 100)).await.unwrap();
        }
        let after = house.envelope(&limit.limit_id).await.period.unwrap();
        assert_eq!((after.granted, after.settled), (before.granted, before.settled));
        assert_eq!(after.usage, 2_000);
    }

    /// Another tenant sees nothing and changes nothing.
    async fn tenants_are_apart(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 100)).await;
        house.admit(1).await.unwrap();
        let hold = house.step(step(1, 0, 10)).await.unwrap().hold.unwrap();
        let by_id = pb::SettleRequest {
            hold: Some(pb::HoldRef { hold_id: hold.hold_id, ..pb::HoldRef::default() }),
            ..settled(1, 0, 9)
        };
        let other = tenant(2);
        let ask = house.ask_as(&other, "lee", "BudgetService/Settle", by_id);
        refused(house.budgets.clone().settle(ask).await, &reasons::HOLD_NOT_FOUND);
        let ask = house.ask_as(&other, "lee", "AdmissionService/AdmitStep", step(1, 1, 1));
        refused(house.admissions.clone().admit_step(ask).await, &reasons::RUN_LEASE_NOT_FOUND);
        let ask = house.ask_as(&other, "lee", "LimitService/GetLimit", pb::GetLimitRequest { limit_id: limit.limit_id.clone() });
        refused(house.limits.clone().get_limit(ask).await, &reasons::LIMIT_NOT_FOUND);
        let ask = house.ask_as(&other, "lee", "BudgetService/GetEnvelope", pb::GetEnvelopeRequest { id: limit.limit_id, at: None });
        refused(house.budgets.clone().get_envelope(ask).await, &reasons::ENVELOPE_NOT_FOUND);
        let ask = house.ask_as(&other, "lee", "BudgetService/GetRunBudget", pb::GetRunBudgetRequest { run_id: run(1), attempt: 0 });
        refused(house.budgets.clone().get_run_budget(ask).await, &reasons::RUN_LEASE_NOT_FOUND);
    }
}
