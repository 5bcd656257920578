//! Facts in any order, any number of times.

use contracts_activity::v1::{self as pb, EvaluationOutcome as O, FactResult, fact::Body};
use contracts_common::common::v1::{AuditStatus, IntegrityStatus};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use runspine_testkit::{TestStore, on_both_engines, run, test_id};

use crate::{
    call,
    harness::{House, key_id},
};

fn fact(id: u64, number: u64, seq: u64, body: Body) -> pb::Fact {
    pb::Fact {
        fact_id: test_id(4, number * 1_000 + id),
        run_id: run(number),
        attempt: 1,
        source: "logs".into(),
        source_seq: seq,
        occurred_at: Some(runspine_rpc::timestamp(
            crate::harness::START.plus_millis(i64::try_from(seq).unwrap()),
        )),
        body: Some(body),
    }
}

fn step(position: u64, outcome: i32, cost: i64) -> Body {
    Body::StepRecorded(pb::StepFact {
        position,
        step_index: u32::try_from(position).unwrap(),
        kind: 2,
        name: "tool".into(),
        outcome,
        input_tokens: 10,
        output_tokens: 5,
        cost_microusd: cost,
        ..Default::default()
    })
}

fn decision(id: &str, effective: i32, degraded: bool) -> Body {
    Body::DecisionRecorded(pb::DecisionFact {
        decision_id: id.into(),
        step_index: Some(1),
        verdict: effective,
        effective_verdict: effective,
        degraded,
        ..Default::default()
    })
}

fn incident(id: &str) -> pb::IncidentFact {
    pb::IncidentFact { incident_id: id.into() }
}

fn limit(limit_id: &str, permille: impl Into<Option<u32>>, outcome: O, blocking: bool) -> Body {
    let standing = pb::LimitStanding {
        limit_id: limit_id.into(),
        policy_id: limit_id.into(),
        policy_name: format!("limit {limit_id}"),
        policy_scope: pb::PolicyScope::Agent.into(),
        scope_id: "agent".into(),
        limit_type: pb::LimitType::Cost.into(),
        threshold_value: Some(1_000),
        threshold_unit: pb::ThresholdUnit::Microusd.into(),
        threshold_source: pb::ThresholdSource::TenantOverride.into(),
        blocking,
        actual_value: Some(7),
        evaluation_outcome: outcome.into(),
        proximity_permille: permille.into(),
        rule_version: 3,
    };
    Body::LimitEvaluated(pb::LimitFact { standing: Some(standing) })
}

/// One of each, and more where sets and latest values could go wrong.
fn history(number: u64) -> Vec<pb::Fact> {
    let settled = |id: &str, cost| pb::SettlementFact { settlement_id: id.into(), cost_microusd: cost };
    let bodies = vec![
        step(1, 1, 100),
        step(2, 5, 200),
        step(3, 4, 50),
        Body::UsageCorrected(pb::UsageFact {
            position: 2,
            input_tokens: 1,
            output_tokens: 1,
            cost_microusd: 7,
        }),
        Body::UsageCorrected(pb::UsageFact {
            position: 2,
            input_tokens: 2,
            output_tokens: 2,
            cost_microusd: 9,
        }),
        decision("d1", 2, false),
        decision("d2", 1, true),
        decision("d1", 2, false),
        Body::RunSettled(settled("s1", 300)),
        Body::SettlementReversed(settled("s1", 0)),
        Body::RunSettled(settled("s2", 120)),
        Body::IncidentLinked(incident("i1")),
        Body::IncidentVoided(incident("i1")),
        Body::IncidentLinked(incident("i2")),
        Body::ProofRecorded(pb::ProofFact { integrity: IntegrityStatus::Failed as i32 }),
        Body::ProofRecorded(pb::ProofFact { integrity: IntegrityStatus::Verified as i32 }),
        Body::ContractReconciled(pb::ContractFact { audit_status: AuditStatus::Incomplete as i32 }),
        Body::ContractReconciled(pb::ContractFact { audit_status: AuditStatus::Complete as i32 }),
        Body::ViolationReported(pb::ViolationFact { violation_id: "v2".into(), policy_id: "late".into() }),
        Body::ViolationReported(pb::ViolationFact { violation_id: "v1".into(), policy_id: "later".into() }),
        Body::DraftCreated(pb::DraftFact { proposal_id: "p1".into() }),
        Body::DraftCreated(pb::DraftFact { proposal_id: "p2".into() }),
        Body::EvidenceFailed(pb::EvidenceFailureFact {
            failure_id: "f".into(),
            evidence_class: "ENVIRONMENT".into(),
        }),
        Body::EvidenceGraded(pb::EvidenceGradeFact { grade: 2, required_missing: false }),
        Body::ObservabilityReported(pb::ObservabilityFact { status: 2, error: "first".into() }),
        Body::ObservabilityReported(pb::ObservabilityFact { status: 2, error: "last".into() }),
        Body::TraceSealed(pb::SealFact { record_count: 3 }),
        limit("l1", 1_100, O::Breach, false),
        limit("l1", 850, O::NearThreshold, false),
        limit("l2", 900, O::NearThreshold, true),
    ];
    (1..).zip(bodies).map(|(n, body)| fact(n, number, n, body)).collect()
}

/// What facts may change of a run.
fn shown(mut run: pb::Run) -> pb::Run {
    run.run_id.clear();
    run.policy_context.as_mut().unwrap().facade_ref.clear();
    run
}

on_both_engines! {
    /// Each fact changes its field, and the sums are right.
    async fn each_field_has_its_fact(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let receipts = house.apply(history(1)).await;
        assert!(receipts.iter().all(|r| r.result == FactResult::Applied as i32), "{receipts:?}");
        let run = house.run(1).await;
        assert_eq!((run.step_count, run.ambiguous_count, run.denied_steps), (3, 1, 1));
        assert_eq!((run.input_tokens, run.output_tokens, run.estimated_cost_microusd), (22, 12, 159));
        assert_eq!((run.settled_cost_microusd, run.incident_count, run.policy_draft_count), (120, 1, 2));
        assert_eq!((run.policy_violation, run.violation_count, run.violation_policy_id.as_str()), (true, 2, "late"));
        assert_eq!(run.integrity_status, IntegrityStatus::Verified as i32);
        assert_eq!(run.audit_status, AuditStatus::Complete as i32);
        assert_eq!((run.degraded, run.observability_status, run.observability_error.as_str()), (true, 2, "last"));
        assert_eq!(run.risk_level, pb::RiskLevel::Violated as i32);
        assert_eq!(run.evidence_health, pb::EvidenceHealth::Degraded as i32);
        let context = run.policy_context.clone().unwrap();
        let worst = context.worst.unwrap();
        assert_eq!((worst.limit_id.as_str(), worst.proximity_permille, context.limits_evaluated), ("l2", Some(900), 2));
        assert_eq!((context.violation_ref.as_str(), context.threshold_ref.as_str()), ("v2", "l2"));
        let attempt = house.view(1).await.attempts.remove(0);
        assert_eq!((attempt.settled_cost_microusd, attempt.audit_status), (120, AuditStatus::Complete as i32));
        let again = house.apply(history(1)).await;
        assert!(again.iter().all(|r| r.result == FactResult::Duplicate as i32));
        assert_eq!(house.run(1).await, run);
    }

    /// Any permutation, with repeats, in any portions, also before the run exists, gives the same projection.
    async fn order_and_repetition_change_nothing(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.apply(history(1)).await;
        let expected = shown(house.run(1).await);
        let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
        let orders = (0..30_usize).map(|_| {
            let order = Just((0..30_usize).chain(0..9).collect::<Vec<_>>()).prop_shuffle();
            let tree = (order, 1..30_usize, 0..3_u8).new_tree(&mut runner).unwrap();
            proptest::strategy::ValueTree::current(&tree)
        });
        for (number, (order, portion, before)) in (2..).zip(orders) {
            let facts = history(number);
            let facts: Vec<pb::Fact> = order.into_iter().map(|place| facts[place].clone()).collect();
            if before == 0 {
                let receipts = house.apply(facts.clone()).await;
                assert!(receipts.iter().all(|r| r.result == FactResult::Parked as i32));
                house.start(number).await;
            } else {
                house.start(number).await;
                for part in facts.chunks(portion) {
                    house.apply(part.to_vec()).await;
                }
            }
            assert_eq!(shown(house.run(number).await), expected, "run {number}");
        }
        let message = pb::RebuildProjectionRequest { request_id: key_id(1), run_ids: vec![] };
        let rebuilt = call!(house, store.rebuild_projection, "RebuildProjection", message).unwrap();
        assert_eq!((rebuilt.rebuilt, rebuilt.differing), (31, 0));
        house.by_hand("UPDATE attempt_projection SET step_count = 9 WHERE attempt_key = 1").await.unwrap();
        let message = pb::RebuildProjectionRequest { request_id: key_id(2), run_ids: vec![run(1)] };
        let rebuilt = call!(house, store.rebuild_projection, "RebuildProjection", message).unwrap();
        assert_eq!((rebuilt.rebuilt, rebuilt.differing), (1, 1));
    }

    /// A run with five limits is one row that shows the worst; the view has all five, each with its newest evaluation.
    async fn the_worst_of_its_limits_is_shown(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let none = house.run(1).await.policy_context.unwrap();
        let worst = none.worst.unwrap();
        assert_eq!((worst.policy_id.as_str(), worst.policy_name.as_str()), ("SYSTEM_DEFAULT", "Default safety thresholds"));
        assert_eq!((worst.evaluation_outcome(), worst.proximity_permille, none.limits_evaluated), (O::Advisory, None, 0));
        let stands = [
            limit("e", 1_000, O::Overridden, true),
            limit("d", 990, O::NearThreshold, true),
            limit("c", 990, O::NearThreshold, true),
            limit("b", 10, O::Ok, true),
            limit("a", None, O::Advisory, false),
        ];
        house.apply((1..).zip(stands).map(|(n, body)| fact(n, 1, n, body)).collect()).await;
        let view = house.view(1).await;
        let ids: Vec<_> = view.limits.iter().map(|l| l.standing.as_ref().unwrap().limit_id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c", "d", "e"]);
        assert!(view.limits.iter().all(|l| l.attempt == 1 && l.risk_type() == pb::RiskType::Cost));
        let context = |view: &pb::GetRunViewResponse| view.run.clone().unwrap().policy_context.unwrap();
        assert_eq!((context(&view).threshold_ref.as_str(), context(&view).limits_evaluated), ("e", 5));
        // The override ran out, then its limit came free again: an older word changes nothing.
        let later = vec![
            fact(10, 1, 12, limit("e", 100, O::Ok, true)),
            fact(11, 1, 11, limit("e", 1_000, O::Breach, false)),
        ];
        house.apply(later).await;
        assert_eq!(context(&house.view(1).await).threshold_ref, "c", "of two alike the lower id");
        let rows = house.list_at_risk().await;
        assert_eq!(rows, [(run(1), pb::RiskLevel::AtRisk)], "once, and never better than it was");
    }

    /// A row of the table of levels each; what it was is never forgotten.
    async fn limits_are_a_risk(store: TestStore) {
        let house = House::over(store).await;
        for (number, (permille, outcome, blocking, level)) in (1_u64..).zip([
            (799, O::Ok, true, pb::RiskLevel::Normal),
            (800, O::NearThreshold, true, pb::RiskLevel::NearThreshold),
            (999, O::NearThreshold, true, pb::RiskLevel::NearThreshold),
            (1_000, O::Breach, false, pb::RiskLevel::AtRisk),
            (1_000, O::Overridden, true, pb::RiskLevel::AtRisk),
            (1_000, O::Breach, true, pb::RiskLevel::Violated),
        ]) {
            house.start(number).await;
            house.apply(vec![fact(1, number, 1, limit("l", permille, outcome, blocking))]).await;
            assert_eq!(house.run(number).await.risk_level(), level, "{permille} {outcome:?}");
            house.apply(vec![fact(2, number, 2, limit("l", 0, O::Ok, blocking))]).await;
            let better = house.run(number).await;
            assert_eq!(better.risk_level(), level, "{permille} {outcome:?}, then nothing");
            assert_eq!(better.policy_context.unwrap().worst.unwrap().evaluation_outcome(), O::Ok);
        }
    }

    /// What this version does not know is refused; a terminal run still takes facts.
    async fn unknown_and_late_facts(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        house.complete(1).await;
        let unknown = fact(1, 1, 1, Body::ContractReconciled(pb::ContractFact { audit_status: 99 }));
        let late = fact(2, 1, 2, Body::ProofRecorded(pb::ProofFact { integrity: IntegrityStatus::Verified as i32 }));
        let receipts = house.apply(vec![unknown, late]).await;
        assert_eq!(receipts[0].result, FactResult::Refused as i32);
        assert_eq!((receipts[0].reason.as_str(), receipts[1].result), ("ENUM_UNKNOWN", FactResult::Applied as i32));
        assert_eq!(house.run(1).await.integrity_status, IntegrityStatus::Verified as i32);
    }

    /// Two replicas that count facts of one run at the same time lose none.
    async fn replicas_count_together(store: TestStore) {
        let house = House::over(store).await;
        house.start(1).await;
        let replica = house.replica().await;
        let calls = (1..=40_u64).map(|n| {
            let house = if n % 2 == 0 { &house } else { &replica };
            house.apply(vec![fact(n, 1, n, step(n, 1, 10))])
        });
        let receipts: Vec<_> = futures::future::join_all(calls).await.into_iter().flatten().collect();
        assert!(receipts.iter().all(|r| r.result == FactResult::Applied as i32));
        let run = house.run(1).await;
        assert_eq!((run.step_count, run.estimated_cost_microusd), (40, 400));
    }
}
