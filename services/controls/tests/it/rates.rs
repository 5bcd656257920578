//! Token buckets and slots.

use contracts_controls::v1 as pb;
use futures::future::join_all;
use runspine_controls_domain::reasons;
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use runspine_types::Clock as _;

use crate::{
    call,
    harness::{House, daily, inner, insist, plain, refused, settled, step},
    histories::Dice,
};

fn rate(unit: pb::LimitUnit, max_value: i64, window_s: u32) -> pb::LimitSpec {
    pb::LimitSpec { window_s, ..plain("rate", 2, unit, max_value) }
}

fn slots(unit: pb::LimitUnit, max_value: i64) -> pb::LimitSpec {
    plain("slots", 3, unit, max_value)
}

/// Verdict, primary reason and wait of an answer.
fn told(admission: Option<pb::Admission>) -> (i32, String, Option<i64>) {
    let admission = admission.unwrap();
    let code = admission.reasons.first().map_or_else(String::new, |r| r.code.clone());
    (admission.verdict, code, admission.retry_after_ms)
}

impl House {
    async fn ask_step(&self, index: u32, ask: u32) -> (i32, String, Option<i64>) {
        told(self.step(pb::AdmitStepRequest { ask, ..step(1, index, 0) }).await.unwrap().admission)
    }

    async fn rate(&self) -> pb::RateStatus {
        let message = pb::GetRateStatusRequest::default();
        call!(self, rates.get_rate_status, "RateService/GetRateStatus", message).unwrap().rates.remove(0)
    }
}

/// At most `burst + max_value × w / window` in every window w that begins and ends with an admission.
fn within_rate(admitted: &[i64], burst: i64, max_value: i64, window_ms: i64) {
    for (first, begin) in admitted.iter().enumerate() {
        for (count, end) in (1..).zip(&admitted[first..]) {
            let most = burst * window_ms + max_value * (end - begin);
            assert!(count * window_ms <= most, "{count} from {begin} to {end} ms");
        }
    }
}

/// Steps come in generated crowds at generated times, over two processes of which one is begun anew now and then.
async fn crowds(store: TestStore, seed: u64) {
    let (burst, max_value, window_s) = (12, 8, 10_u32);
    let house = House::over(store).await;
    let spec = pb::LimitSpec { enforcement: 1, burst, ..rate(pb::LimitUnit::Requests, max_value, window_s) };
    house.create(1, spec).await;
    for number in 0..4 {
        house.admit(number).await.unwrap();
    }
    let (mut dice, mut other, mut next) = (Dice(seed), house.replica().await.0, 0_u32);
    let mut admitted = Vec::new();
    for _ in 0..40 {
        let waited = dice.roll(3_000);
        house.clock.advance(std::time::Duration::from_millis(waited));
        for number in 0..4 {
            house.renew(number).await;
        }
        if dice.roll(4) == 0 {
            other = house.replica().await.0;
        }
        let (at, house) = (house.clock.now().0 / 1_000, &house);
        let asks = (0..=dice.roll(16)).map(|n| {
            let client = if n % 2 == 0 { &house.admissions } else { &other };
            let message = step(n % 4, next + u32::try_from(n).unwrap(), 0);
            let ask = move || {
                let request = house.ask("AdmissionService/AdmitStep", message.clone());
                async move { inner(client.clone().admit_step(request).await) }
            };
            async move { insist(ask).await.hold.is_some() }
        });
        let held = join_all(asks).await;
        next += 100;
        admitted.extend(held.into_iter().filter(|held| *held).map(|_| at));
    }
    assert!(admitted.len() > 40, "the bucket fills again: {}", admitted.len());
    within_rate(&admitted, burst, max_value, i64::from(window_s) * 1_000);
}

on_both_engines! {
    /// A5.1 over generated crowds.
    async fn no_window_has_more_than_its_rate(store: TestStore) {
        crowds(store, 0x5eed_0000_1111_2222).await;
    }

    /// The same with others.
    async fn no_other_window_has_more(store: TestStore) {
        crowds(store, 0x0bad_cafe_0000_0007).await;
    }

    /// Waiting exactly as long as said admits, a millisecond less does not; after the longest wait it is denied.
    async fn the_wait_is_exact(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, pb::LimitSpec { max_wait_s: Some(20), ..rate(pb::LimitUnit::Requests, 7, 60) }).await;
        house.admit(1).await.unwrap();
        for index in 0..7 {
            assert_eq!(house.ask_step(index, 0).await.0, 1);
        }
        let (verdict, code, wait) = house.ask_step(7, 0).await;
        assert_eq!((verdict, code.as_str(), wait), (5, "RATE_LIMITED", Some(8_572)));
        house.clock.advance(std::time::Duration::from_millis(8_571));
        assert_eq!(house.ask_step(7, 1).await, (5, "RATE_LIMITED".to_owned(), Some(1)));
        house.clock.advance(std::time::Duration::from_millis(1));
        assert_eq!(house.ask_step(7, 2).await.0, 1);
        assert_eq!(house.ask_step(8, 0).await.0, 5);
        let status = house.rate().await;
        assert_eq!((status.level, status.capacity, status.slots_used), (0, 7, 0));
        for ask in 1..20 {
            house.clock.advance(std::time::Duration::from_millis(1));
            assert_eq!(house.ask_step(8, ask).await.0, 5, "a refused question takes nothing");
        }
        let other = house.replica().await.0;
        let message = pb::AdmitStepRequest { ask: 20, ..step(1, 8, 0) };
        house.clock.advance(std::time::Duration::from_millis(8_572));
        let answer = other.clone().admit_step(house.ask("AdmissionService/AdmitStep", message)).await;
        assert_eq!(told(inner(answer).unwrap().admission).0, 1, "another process fills the same bucket");
    }

    /// A question that was deferred for the longest wait is denied.
    async fn a_queue_ends(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, pb::LimitSpec { max_wait_s: Some(2), ..rate(pb::LimitUnit::Requests, 1, 3_600) }).await;
        house.admit(1).await.unwrap();
        assert_eq!(house.ask_step(0, 0).await.0, 1);
        assert_eq!(house.ask_step(1, 0).await.0, 5);
        house.clock.advance(std::time::Duration::from_millis(1_999));
        assert_eq!(house.ask_step(1, 1).await.0, 5);
        house.clock.advance(std::time::Duration::from_millis(1));
        assert_eq!(house.ask_step(1, 2).await, (2, "RATE_LIMITED".to_owned(), None));
    }

    /// More than a bucket ever holds is denied at once, and a step that another limit refuses takes no tokens.
    async fn what_never_fits_is_denied_and_a_refusal_takes_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, rate(pb::LimitUnit::TokensTotal, 100, 60)).await;
        house.create(2, daily("day", 10)).await;
        house.admit(1).await.unwrap();
        let asking = |index: u32, cost: i64, tokens: i64| {
            let mut message = step(1, index, cost);
            message.estimate = Some(contracts_common::common::v1::Amounts {
                cost_microusd: cost, tokens_input: tokens, tokens_output: 1, duration_ms: 1,
            });
            message
        };
        let answer = house.step(asking(0, 1, 100)).await.unwrap();
        assert_eq!(told(answer.admission), (2, "RATE_UNSATISFIABLE".to_owned(), None));
        let answer = house.step(asking(1, 11, 9)).await.unwrap();
        assert_eq!(told(answer.admission).1, "BUDGET_EXCEEDED");
        assert_eq!(house.rate().await.level, 100);
        // The estimate is taken, and corrected when the truth is known.
        assert_eq!(told(house.step(asking(2, 1, 39)).await.unwrap().admission).0, 1);
        assert_eq!(house.rate().await.level, 60);
        let mut done = settled(1, 2, 1);
        done.actual = Some(contracts_common::common::v1::Amounts { tokens_input: 110, ..Default::default() });
        house.settle(done.clone()).await.unwrap();
        assert_eq!(house.rate().await.level, -10);
        house.settle(done).await.unwrap();
        assert_eq!(house.rate().await.level, -10, "a repeat corrects nothing more");
        let message = pb::ResetBucketRequest {
            request_id: test_id(7, 9), limit_id: house.rate().await.limit_id, scope_id: String::new(),
            reason: "the outage is over".into(),
        };
        let filled = call!(house, rates.reset_bucket, "RateService/ResetBucket", message.clone()).unwrap();
        assert_eq!(filled.rate.as_ref().unwrap().level, 100);
        assert_eq!(call!(house, rates.reset_bucket, "RateService/ResetBucket", message).unwrap(), filled);
        assert_eq!(house.rate().await.level, 100);
        assert!(house.kinds().await.contains(&"BucketReset".to_owned()));
        let elsewhere = pb::ResetBucketRequest {
            request_id: test_id(7, 10), limit_id: filled.rate.unwrap().limit_id, scope_id: "other".into(),
            reason: "the outage is over".into(),
        };
        refused(call!(house, rates.reset_bucket, "RateService/ResetBucket", elsewhere), &reasons::SCOPE_INVALID);
    }

    /// However many ask at once, over two processes: no more than the burst are admitted.
    async fn a_burst_is_shared_by_all_processes(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, pb::LimitSpec { enforcement: 1, burst: 20, ..rate(pb::LimitUnit::Steps, 10, 3_600) }).await;
        for number in 0..8 {
            house.admit(number).await.unwrap();
        }
        let (house, (other, _)) = (&house, house.replica().await);
        let asks = (0..64_u64).map(|n| {
            let client = if n % 2 == 0 { &house.admissions } else { &other };
            let message = step(n % 8, u32::try_from(n / 8).unwrap(), 0);
            let ask = move || {
                let request = house.ask("AdmissionService/AdmitStep", message.clone());
                async move { inner(client.clone().admit_step(request).await) }
            };
            async move { insist(ask).await.hold.is_some() }
        });
        let admitted = join_all(asks).await.into_iter().filter(|held| *held).count();
        assert_eq!((admitted, house.rate().await.level), (20, 0));
    }

    /// 64 starts at once over two processes against 5 slots: 5 runs. A slot is free when its run ends or its lease lapsed.
    async fn starts_wait_for_slots(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, slots(pb::LimitUnit::Runs, 5)).await;
        let (house, (other, _)) = (&house, house.replica().await);
        let starts = (0..64_u64).map(|n| {
            let client = if n % 2 == 0 { &house.admissions } else { &other };
            let ask = move || {
                let request = house.ask("AdmissionService/AdmitRun", house.start(n));
                async move { inner(client.clone().admit_run(request).await) }
            };
            async move { (n, told(insist(ask).await.admission)) }
        });
        let told_all = join_all(starts).await;
        let admitted: Vec<u64> = told_all.iter().filter(|(_, t)| t.0 == 1).map(|(n, _)| *n).collect();
        assert_eq!(admitted.len(), 5);
        assert!(told_all.iter().all(|(_, t)| t.0 == 1 || t.1 == "CONCURRENCY_EXCEEDED"));
        house.settle_run(admitted[0], 1).await.unwrap();
        assert_eq!(told(house.admit(100).await.unwrap().admission).0, 1);
        assert_eq!(told(house.admit(101).await.unwrap().admission).0, 2);
        house.clock.advance(std::time::Duration::from_millis(35_001));
        assert_eq!(runspine_controls::worker::sweep_once(&house.app).await.unwrap(), 5);
        assert_eq!(house.rate().await.slots_used, 0);
    }

    /// A step's slot is free when it is settled or given back, and a second question of the same step is the same slot.
    async fn steps_take_and_free_slots(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, pb::LimitSpec { enforcement: 3, ..slots(pb::LimitUnit::Steps, 2) }).await;
        house.admit(1).await.unwrap();
        assert_eq!(house.ask_step(0, 0).await.0, 1);
        let held = house.step(step(1, 1, 0)).await.unwrap().hold.unwrap();
        assert_eq!(house.ask_step(2, 0).await, (5, "CONCURRENCY_EXCEEDED".to_owned(), Some(1_000)));
        house.settle(settled(1, 0, 0)).await.unwrap();
        assert_eq!(house.ask_step(2, 1).await.0, 1);
        let release = pb::ReleaseRequest {
            hold: Some(pb::HoldRef { hold_id: held.hold_id, run_id: run(1), attempt: 1, step_index: Some(1) }),
            reason: 1,
        };
        call!(house, budgets.release, "BudgetService/Release", release).unwrap();
        assert_eq!((house.ask_step(3, 0).await.0, house.rate().await.slots_used), (1, 2));
    }

    /// A simulation answers as the start would, and takes nothing.
    async fn a_simulation_takes_no_slot(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, slots(pb::LimitUnit::Runs, 1)).await;
        let simulate = || pb::SimulateAdmissionRequest { scope: house.start(1).scope, profile: 2, ..Default::default() };
        for _ in 0..2 {
            let tried =
                call!(house, admissions.simulate_admission, "AdmissionService/SimulateAdmission", simulate()).unwrap();
            assert_eq!((told(tried.admission).0, tried.headroom[0].headroom), (1, 1));
        }
        assert_eq!(told(house.admit(1).await.unwrap().admission).0, 1);
        let tried =
            call!(house, admissions.simulate_admission, "AdmissionService/SimulateAdmission", simulate()).unwrap();
        assert_eq!((told(tried.admission), tried.headroom[0].headroom), ((2, "CONCURRENCY_EXCEEDED".to_owned(), None), 0));
    }
}
