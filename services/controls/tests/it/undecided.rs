//! A check that can't be made: the profile decides, nothing is held, and there is a record of it.

use contracts_common::common::v1::{GovernanceProfile, Totals, Verdict};
use contracts_controls::v1::{self as pb, Recomputation};
use prost::Message as _;
use runspine_db::args;
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};

use crate::{
    call,
    harness::{House, cost, daily, inner, insist, plain, settled, step, verdict},
};

const PROFILES: [(GovernanceProfile, Verdict); 3] = [
    (GovernanceProfile::Strict, Verdict::Deny),
    (GovernanceProfile::Standard, Verdict::Allow),
    (GovernanceProfile::ObserveOnly, Verdict::Allow),
];

/// Faults of the store, each as a statement that makes it: a limit that can't be read, a breaker that nobody knows how to
/// take.
const FAULTS: [&str; 2] = [UNREADABLE, "UPDATE breakers SET cause = 99"];
const UNREADABLE: &str = "UPDATE limits SET spec = limit_id";

impl House {
    /// Makes a fault in the store, and has the service read all limits anew.
    async fn broken(&self, fault: &'static str) {
        self.by_hand(match (fault, self.db.dialect()) {
            (UNREADABLE, runspine_db::Dialect::Postgres) => {
                "UPDATE limits SET spec = convert_to(limit_id, 'UTF8')"
            }
            (sql, _) => sql,
        })
        .await;
        self.by_hand("UPDATE marks SET value = value + 1 WHERE name <> 'epoch'").await;
    }

    async fn recorded(&self) -> Vec<pb::EvaluationEvidence> {
        let message = pb::ListEvaluationEvidenceRequest { page_size: 500, ..Default::default() };
        let page =
            call!(self, signals.list_evaluation_evidence, "SignalService/ListEvaluationEvidence", message);
        page.unwrap().evidence
    }

    async fn degradations(&self) -> Vec<pb::AdmissionDegraded> {
        let told = self.published().await.into_iter().filter(|e| e.r#type == "controls.AdmissionDegraded");
        told.map(|e| pb::AdmissionDegraded::decode(e.data).unwrap()).collect()
    }
}

/// That the profile has decided, and that this is on record.
async fn degraded(
    house: &House,
    admission: Option<&pb::Admission>,
    profile: GovernanceProfile,
    expected: Verdict,
) {
    let admission = admission.unwrap();
    assert!(admission.degraded);
    let (said, directive, codes) = verdict(Some(admission));
    assert_eq!((said, directive), (expected.into(), 1), "{profile:?}");
    assert_eq!(codes, ["CONTROL_ERROR"]);
    assert_eq!(admission.reasons[0].outcome, i32::from(expected));
    assert!(admission.control_set_digest.is_empty() && admission.override_ids.is_empty());
    let rows = house.recorded().await;
    let row = rows.iter().find(|row| row.evidence_id == admission.evidence_id).expect("a row of evidence");
    assert_eq!(row.recomputation(), Recomputation::Equal, "{row:?}");
    let told = house.degradations().await;
    let mine = told.iter().find(|event| event.evidence_id == admission.evidence_id).expect("an event");
    assert_eq!((mine.profile(), mine.verdict()), (profile, expected));
}

on_both_engines! {
    /// A1.3, the first row, at a start: the profile decides, the same question has the same answer, and SimulateAdmission
    /// says so before.
    async fn a_start_whose_limits_cannot_be_read(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 100)).await;
        house.broken(UNREADABLE).await;
        for (number, (profile, expected)) in (1..).zip(PROFILES) {
            let start = pb::AdmitRunRequest { profile: profile.into(), ..house.start(number) };
            let trial = pb::SimulateAdmissionRequest {
                scope: start.scope.clone(), amounts: start.requested, profile: profile.into(), ..Default::default()
            };
            let simulated = call!(house, admissions.simulate_admission, "AdmissionService/SimulateAdmission", trial).unwrap();
            let ask = || call_start(&house, start.clone());
            let answer = ask().await;
            degraded(&house, answer.admission.as_ref(), profile, expected).await;
            let without = answer.admission.clone().map(|a| pb::Admission { evidence_id: String::new(), ..a });
            assert_eq!(simulated.admission, without, "A1.4");
            assert_eq!(ask().await.encode_to_vec(), answer.encode_to_vec());
            assert!(answer.allocations.is_empty());
        }
        let (holds,): (i64,) = house.one("SELECT COUNT(*) FROM holds").await;
        assert_eq!(holds, 0);
        // A start that was allowed has its lease: its steps are known.
        let denied = house.step(pb::AdmitStepRequest { profile: 1, ..step(2, 0, 1) }).await.unwrap();
        degraded(&house, denied.admission.as_ref(), GovernanceProfile::Strict, Verdict::Deny).await;
        crate::harness::refused(house.step(step(1, 0, 1)).await, &runspine_controls_domain::reasons::RUN_LEASE_NOT_FOUND);
    }

    /// A1.3, the first row, at a step, for each fault: no hold, and once the store is whole again the step is charged late.
    async fn a_step_whose_checks_cannot_be_made(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 100)).await;
        let open = pb::OpenBreakerRequest {
            request_id: test_id(7, 50), target_type: pb::BreakerTarget::Model.into(), target_id: "small".into(),
            reason: "its answers can't be trusted".into(), ..Default::default()
        };
        call!(house, breakers.open_breaker, "BreakerService/OpenBreaker", open).unwrap();
        for number in 1..=3 {
            house.admit(number).await.unwrap();
        }
        let kept: (bytes::Bytes, i64) = house.one("SELECT spec, limit_key FROM limits").await;
        for (place, fault) in (0..).zip(FAULTS) {
            house.broken(fault).await;
            for (number, (profile, expected)) in (1..).zip(PROFILES) {
                let message = pb::AdmitStepRequest {
                    profile: profile.into(), model: "small".into(), ..step(number, place, 30)
                };
                let answer = house.step(message.clone()).await.unwrap();
                assert_eq!(answer.hold, None);
                degraded(&house, answer.admission.as_ref(), profile, expected).await;
                assert_eq!(house.step(message).await.unwrap().encode_to_vec(), answer.encode_to_vec());
            }
            let spec = kept.0.clone();
            let repair = house.db.write("by_hand", move |tx| Box::pin(async move {
                Ok(tx.execute("UPDATE limits SET spec = $1", args![spec]).await?)
            }));
            repair.await.unwrap();
            house.broken("UPDATE limits SET version = version").await;
            if place == 0 {
                let done = house.settle(settled(2, place, 20)).await.unwrap();
                assert_eq!((done.result(), done.charged_microusd), (pb::SettleResult::Late, 20));
                let again = house.step(step(2, 10, 30)).await.unwrap();
                assert_eq!(verdict(again.admission.as_ref()).0, i32::from(Verdict::Allow));
                assert!(again.hold.is_some() && !again.admission.unwrap().degraded);
            }
        }
        let rows = house.recorded().await;
        let (count,): (i64,) = house.one("SELECT COUNT(*) FROM evidence").await;
        assert_eq!(i64::try_from(rows.len()).unwrap(), count);
        assert!(rows.iter().all(|row| row.recomputation() == Recomputation::Equal));
    }

    /// Orders and facts hold whatever can't be read: a freeze, a lease that lapsed, and an older fence.
    async fn orders_hold_all_the_same(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 100)).await;
        house.admit(1).await.unwrap();
        house.admit(2).await.unwrap();
        house.broken(UNREADABLE).await;
        let message = pb::FreezeRequest {
            request_id: test_id(7, 2), scope: pb::FreezeScope::Run.into(), scope_id: run(1), reason_code: 1,
            note: "something is wrong".into(), ..Default::default()
        };
        call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap();
        for profile in 1..=3 {
            let frozen = house.step(pb::AdmitStepRequest { profile, ..step(1, u32::try_from(profile).unwrap(), 1) }).await.unwrap();
            let admission = frozen.admission.unwrap();
            assert_eq!(verdict(Some(&admission)).2, ["FROZEN"]);
            assert!(!admission.degraded, "what an order decides needs no limit");
        }
        let old = pb::AdmitStepRequest { fence: 0, ..step(2, 0, 1) };
        assert_eq!(house.step(old).await.unwrap_err().code(), tonic::Code::InvalidArgument);
        house.clock.advance(std::time::Duration::from_secs(31));
        let lapsed = house.step(step(2, 0, 1)).await.unwrap();
        assert_eq!(verdict(lapsed.admission.as_ref()).2, ["LEASE_LAPSED"]);
        let rows = house.recorded().await;
        assert!(rows.iter().all(|row| row.recomputation() == Recomputation::Equal), "{rows:?}");
    }

    /// Section 6: while limits can't be read the thresholds that the run's last step was compared with still stop it.
    async fn the_last_thresholds_hold(store: TestStore) {
        let house = House::over(store).await;
        let params = vec![pb::ThresholdValue { key: "max_steps".into(), value: 5 }];
        let bound = pb::LimitSpec {
            unit: 0, max_value: 0, params, enforcement: pb::Enforcement::Block.into(),
            ..plain("steps", 4, pb::LimitUnit::Steps, 0)
        };
        let limit = house.create(1, bound).await;
        house.admit(1).await.unwrap();
        let after = |steps: i64, index: u32, profile: i32| pb::AdmitStepRequest {
            totals: Some(Totals { steps, ..Totals::default() }), profile, ..step(1, index, 1)
        };
        house.step(after(0, 0, 2)).await.unwrap();
        house.broken(UNREADABLE).await;
        let within = house.step(after(4, 1, 2)).await.unwrap().admission.unwrap();
        assert_eq!(verdict(Some(&within)), (Verdict::Allow.into(), 1, vec!["CONTROL_ERROR".to_owned()]));
        for index in [2, 3] {
            let beyond = house.step(after(5, index, 2)).await.unwrap().admission.unwrap();
            let (said, _, codes) = verdict(Some(&beyond));
            assert_eq!((said, codes), (Verdict::Deny.into(), vec!["THRESHOLD_EXCEEDED".to_owned(), "CONTROL_ERROR".to_owned()]));
            assert!(beyond.degraded);
            assert_eq!(beyond.reasons[0].source_id, limit.limit_id);
        }
        let observed = house.step(after(5, 4, 3)).await.unwrap().admission.unwrap();
        assert_eq!((observed.verdict(), observed.would_block[0].code.as_str()), (Verdict::Allow, "THRESHOLD_EXCEEDED"));
        let rows = house.recorded().await;
        assert!(rows.iter().all(|row| row.recomputation() == Recomputation::Equal), "{rows:?}");
    }

    /// A question that can't be decided spoils nothing for those that are asked with it.
    async fn others_are_not_touched(store: TestStore) {
        let house = House::over(store).await;
        house.create(1, daily("day", 1_000)).await;
        house.admit(1).await.unwrap();
        house.broken(UNREADABLE).await;
        let asked = (0..20_u32).map(|index| {
            let (other, house) = (&house.admissions, &house);
            let stranger = move || {
                let start = pb::AdmitRunRequest { requested: Some(cost(1)), ..house.start(100 + u64::from(index)) };
                let request = house.ask_as(&tenant(2), "lee", "AdmissionService/AdmitRun", start);
                async move { inner(other.clone().admit_run(request).await) }
            };
            async move {
                let (mine, theirs) = tokio::join!(insist(|| house.step(step(1, index, 1))), insist(stranger));
                (mine.admission.unwrap(), theirs.admission.unwrap())
            }
        });
        for (mine, theirs) in futures::future::join_all(asked).await {
            assert!(mine.degraded && !theirs.degraded);
            assert_eq!((mine.verdict(), theirs.verdict()), (Verdict::Allow, Verdict::Allow));
        }
        let (count,): (i64,) = house.one("SELECT COUNT(*) FROM evidence").await;
        assert_eq!(count, 41);
    }
}

async fn call_start(house: &House, start: pb::AdmitRunRequest) -> pb::AdmitRunResponse {
    call!(house, admissions.admit_run, "AdmissionService/AdmitRun", start).unwrap()
}
