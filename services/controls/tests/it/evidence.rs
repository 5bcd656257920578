//! What was recorded of an admission gives its answer again.

use std::{collections::BTreeMap, time::Duration};

use contracts_common::common::v1::{Totals, Verdict};
use contracts_controls::v1::{self as pb, Recomputation};
use runspine_rpc::timestamp;
use runspine_testkit::{TestStore, on_both_engines, run, tenant, test_id};

use crate::{
    call,
    harness::{House, daily, insist, plain, settled, step},
};

/// Steps of the long run; `PROPTEST_CASES` asks for another number.
fn steps() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(240)
}

async fn listed(
    house: &House,
    message: pb::ListEvaluationEvidenceRequest,
) -> (Vec<pb::EvaluationEvidence>, String) {
    let operation = "SignalService/ListEvaluationEvidence";
    let page = house.signals.clone().list_evaluation_evidence(house.ask(operation, message)).await;
    let page = page.unwrap().into_inner();
    (page.evidence, page.next_page_token)
}

/// Every row, page by page.
async fn all(house: &House, filter: pb::ListEvaluationEvidenceRequest) -> Vec<pb::EvaluationEvidence> {
    let (mut rows, mut page_token) = (Vec::new(), String::new());
    loop {
        let message = pb::ListEvaluationEvidenceRequest { page_size: 50, page_token, ..filter.clone() };
        let (page, next) = listed(house, message).await;
        rows.extend(page);
        if next.is_empty() {
            return rows;
        }
        page_token = next;
    }
}

/// Limits of every category and enforcement, each loose enough to let some steps through.
async fn limits(house: &House) -> Vec<pb::Limit> {
    let warns = pb::LimitSpec { enforcement: pb::Enforcement::Warn.into(), ..daily("warns", 900) };
    let waits =
        pb::LimitSpec { window_s: 60, max_wait_s: Some(5), ..plain("rate", 2, pb::LimitUnit::Requests, 30) };
    let never = pb::LimitSpec { window_s: 60, ..plain("tokens", 2, pb::LimitUnit::TokensTotal, 5_000) };
    let slots = pb::LimitSpec {
        enforcement: pb::Enforcement::Queue.into(),
        max_wait_s: Some(5),
        ..plain("slots", 3, pb::LimitUnit::Steps, 2)
    };
    let params = vec![pb::ThresholdValue { key: "max_steps".into(), value: 200 }];
    let bound = pb::LimitSpec {
        unit: 0,
        max_value: 0,
        params,
        enforcement: pb::Enforcement::Block.into(),
        ..plain("steps", 4, pb::LimitUnit::Steps, 0)
    };
    let degrade = Some(pb::Degrade { cap_tokens: 100, ..pb::Degrade::default() });
    let degrades =
        pb::LimitSpec { enforcement: pb::Enforcement::Degrade.into(), degrade, ..daily("degrades", 600) };
    let mut made = Vec::new();
    for (spec, number) in
        [daily("day", 3_000), warns, waits, never, slots, bound, degrades].into_iter().zip(1..)
    {
        made.push(house.create(number, spec).await);
    }
    made
}

async fn overridden(house: &House, limit: &pb::Limit) -> String {
    let message = pb::RequestOverrideRequest {
        request_id: test_id(9, 1),
        limit_id: limit.limit_id.clone(),
        value: 4_000,
        ends_at: Some(timestamp(house.in_ms(90_000))),
        reason: "the end of the quarter".into(),
        ..Default::default()
    };
    let asked = call!(house, overrides.request_override, "OverrideService/RequestOverride", message).unwrap();
    let override_id = asked.r#override.unwrap().override_id;
    let message = pb::ApproveOverrideRequest {
        request_id: test_id(9, 2),
        override_id: override_id.clone(),
        expected_version: 1,
        note: String::new(),
    };
    let message = house.ask_as(&tenant(1), "lee", "OverrideService/ApproveOverride", message);
    house.overrides.clone().approve_override(message).await.unwrap();
    override_id
}

async fn renew(house: &House) {
    let message = pb::RenewRunLeaseRequest {
        run_id: run(1),
        attempt: 1,
        fence: 1,
        expires_at: Some(timestamp(house.in_ms(30_000))),
        freeze_epoch_seen: 0,
    };
    insist(|| async {
        call!(house, admissions.renew_run_lease, "AdmissionService/RenewRunLease", message.clone())
    })
    .await;
}

/// One long run through everything that controls can say.
async fn walk(house: &House, count: u32) {
    for index in 0..count {
        // Some steps take long: they keep their slots for a while.
        if index >= 15 && index % 3 == 0 {
            insist(|| house.settle(settled(1, index - 15, 5))).await;
        }
        house.clock.advance(Duration::from_millis(u64::from(index * 37 % 900)));
        renew(house).await;
        for ask in 0..2 {
            let totals = Some(Totals { steps: i64::from(index), ..Totals::default() });
            let amount = i64::from(index * 31 % 97);
            let profile = if index % 5 == 4 { 3 } else { 2 };
            let message = pb::AdmitStepRequest { ask, totals, profile, ..step(1, index, amount) };
            let answer = insist(|| house.step(message.clone())).await;
            if answer.hold.is_some() {
                if index % 3 > 0 {
                    insist(|| house.settle(settled(1, index, amount / 2))).await;
                }
                break;
            }
            house.clock.advance(Duration::from_millis(u64::from(index % 7) * 1_000));
            renew(house).await;
        }
    }
}

on_both_engines! {
    /// Decided again from the stored inputs, every row of a long run gives its verdict, its directive and its reasons.
    async fn every_row_decides_the_same_again(store: TestStore) {
        let house = House::over(store).await;
        let made = limits(&house).await;
        let override_id = overridden(&house, &made[0]).await;
        house.admit(1).await.unwrap();
        walk(&house, steps()).await;
        let envelope = house.envelope(&made[0].limit_id).await;
        let message = pb::SuspendEnvelopeRequest {
            request_id: test_id(9, 5), envelope_id: envelope.envelope_id, reason: "it is looked into".into(),
        };
        call!(house, budgets.suspend_envelope, "BudgetService/SuspendEnvelope", message).unwrap();
        house.step(step(1, 1_000_000, 1)).await.unwrap();
        let message = pb::FreezeRequest {
            request_id: test_id(9, 6), scope: pb::FreezeScope::Tenant.into(), effect: pb::FreezeEffect::Pause.into(),
            reason_code: 1, note: "something is wrong".into(), ..Default::default()
        };
        call!(house, freezes.freeze, "FreezeService/Freeze", message).unwrap();
        house.clock.advance(Duration::from_secs(31));
        house.step(step(1, 1_000_001, 1)).await.unwrap();

        let rows = all(&house, pb::ListEvaluationEvidenceRequest::default()).await;
        let mut verdicts: BTreeMap<i32, usize> = BTreeMap::new();
        for row in &rows {
            let admission = row.admission.as_ref().unwrap();
            assert_eq!(row.recomputation(), Recomputation::Equal, "{row:?}");
            *verdicts.entry(admission.verdict).or_default() += 1;
        }
        let (count,): (i64,) = house.one("SELECT COUNT(*) FROM evidence").await;
        assert_eq!(i64::try_from(rows.len()).unwrap(), count);
        for verdict in [Verdict::Allow, Verdict::Deny, Verdict::Modify, Verdict::Defer] {
            assert!(verdicts.contains_key(&i32::from(verdict)), "no {verdict:?}: {verdicts:?}");
        }
        let codes: Vec<&str> = rows
            .iter()
            .flat_map(|r| r.admission.iter())
            .flat_map(|a| a.reasons.iter().chain(&a.would_block).chain(&a.warnings))
            .map(|r| r.code.as_str())
            .collect();
        for code in ["FROZEN", "LEASE_LAPSED", "RATE_LIMITED", "BUDGET_EXCEEDED", "BUDGET_SUSPENDED", "CONCURRENCY_EXCEEDED"] {
            assert!(codes.contains(&code), "no {code}");
        }
        let of = |override_id: &str| pb::ListEvaluationEvidenceRequest { override_id: override_id.into(), ..Default::default() };
        let under = all(&house, of(&override_id)).await;
        assert!(!under.is_empty() && under.len() < rows.len());
        assert!(under.iter().all(|r| r.override_ids == [override_id.clone()]));
    }

    /// An envelope that is empty and suspended says that it is suspended, and is not exhausted once more.
    async fn what_is_suspended_is_not_asked(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 10)).await;
        house.admit(1).await.unwrap();
        house.step(step(1, 0, 10)).await.unwrap();
        let envelope_id = house.envelope(&limit.limit_id).await.envelope_id;
        let message =
            pb::SuspendEnvelopeRequest { request_id: test_id(9, 5), envelope_id, reason: "it is looked into".into() };
        call!(house, budgets.suspend_envelope, "BudgetService/SuspendEnvelope", message).unwrap();
        let refused = house.step(step(1, 1, 1)).await.unwrap();
        let (_, _, codes) = crate::harness::verdict(refused.admission.as_ref());
        assert_eq!(codes, ["BUDGET_SUSPENDED"]);
        let rows = all(&house, pb::ListEvaluationEvidenceRequest::default()).await;
        assert!(rows.iter().all(|row| row.recomputation() == Recomputation::Equal), "{rows:?}");
        let (breaches,): (i64,) = house.one("SELECT COUNT(*) FROM breaches").await;
        assert_eq!(breaches, 0, "nobody asked an envelope for more than it had");
    }

    /// Rows are found by run, limit and verdict; another tenant has none of them.
    async fn rows_are_found(store: TestStore) {
        let house = House::over(store).await;
        let limit = house.create(1, daily("day", 10)).await;
        for number in [1, 2] {
            house.admit(number).await.unwrap();
            house.step(step(number, 0, 4)).await.unwrap();
        }
        house.step(step(1, 1, 100)).await.unwrap();
        let of = |filter: pb::ListEvaluationEvidenceRequest| all(&house, filter);
        assert_eq!(of(pb::ListEvaluationEvidenceRequest::default()).await.len(), 5);
        let mine = of(pb::ListEvaluationEvidenceRequest { run_id: run(2), ..Default::default() }).await;
        assert_eq!(mine.iter().map(|r| r.step_index).collect::<Vec<_>>(), [None, Some(0)]);
        let denied = of(pb::ListEvaluationEvidenceRequest { verdicts: vec![Verdict::Deny.into()], ..Default::default() }).await;
        assert_eq!(denied.iter().map(|r| (r.run_id.clone(), r.step_index)).collect::<Vec<_>>(), [(run(1), Some(1))]);
        assert_eq!(denied[0].limit_ids, std::slice::from_ref(&limit.limit_id));
        let by_limit = |limit_id: String| pb::ListEvaluationEvidenceRequest { limit_id, ..Default::default() };
        assert_eq!(of(by_limit(limit.limit_id.clone())).await.len(), 5);
        assert!(of(by_limit(test_id(1, 9))).await.is_empty());
        let operation = "SignalService/ListEvaluationEvidence";
        let stranger = house.ask_as(&tenant(2), "lee", operation, pb::ListEvaluationEvidenceRequest::default());
        let page = house.signals.clone().list_evaluation_evidence(stranger).await.unwrap().into_inner();
        assert!(page.evidence.is_empty());
        let two = pb::ListEvaluationEvidenceRequest { page_size: 2, ..Default::default() };
        let (first, token) = listed(&house, two.clone()).await;
        let other = pb::ListEvaluationEvidenceRequest { page_token: token, run_id: run(1), ..two };
        let mixed = house.signals.clone().list_evaluation_evidence(house.ask(operation, other)).await;
        crate::harness::refused(mixed, &runspine_errors::mesh::PAGE_TOKEN_MISMATCH);
        assert_eq!(first.len(), 2);
    }
}
