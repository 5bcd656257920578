//! What the mesh tells of runs by itself, and a violation that is reported through its door.

use contracts_common::common::v1::{Amounts, ErrorClass, StepOutcome};
use contracts_controls::v1::{LimitUnit, Signal};
use contracts_policies::v1::{self as policies, LessonType};
use contracts_spine::v1 as pb;
use runspine_types::new_id;

use crate::sagas::house::House;

impl House {
    async fn lessons(&self, kind: LessonType) -> Vec<policies::Lesson> {
        let list = policies::ListLessonsRequest { types: vec![kind.into()], ..Default::default() };
        let found: policies::ListLessonsResponse =
            self.ask("policies.v1.LessonService/ListLessons", list).await;
        found.lessons
    }

    async fn ended(&self, start: pb::StartRunRequest, outcome: StepOutcome) -> String {
        let started: pb::StartRunResponse = self.ask("spine.v1.RunService/StartRun", start).await;
        let run_id = started.run.unwrap().run_id;
        let failed = outcome == StepOutcome::Failure;
        let end = pb::CompleteRunRequest {
            run_id: run_id.clone(),
            attempt: 1,
            fence: started.lease.unwrap().fence,
            outcome: outcome.into(),
            error_code: if failed { "TOOL_BROKE".to_owned() } else { String::new() },
            error_class: if failed { ErrorClass::Permanent.into() } else { 0 },
            ..Default::default()
        };
        let _: pb::CompleteRunResponse = self.ask("spine.v1.RunService/CompleteRun", end).await;
        run_id
    }
}

/// Each failed attempt teaches once, however often its seal is heard of; the same again is counted.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_failed_teaches() {
    let house = House::open().await;
    let kernel = &house.spine.kernel;
    let first = house.ended(house.request(1), StepOutcome::Failure).await;
    for _ in 0..2 {
        assert!(kernel.attempt_sealed(&house.patient(), &first, 1).await.unwrap());
    }
    let lessons = house.lessons(LessonType::Failure).await;
    assert_eq!(lessons.len(), 1, "{lessons:?}");
    let lesson = &lessons[0];
    assert_eq!(
        (lesson.run_id.as_str(), lesson.error_code.as_str(), lesson.occurrences),
        (&*first, "TOOL_BROKE", 1)
    );
    assert_ne!(lesson.severity(), policies::Severity::Unspecified, "its incident says how bad it was");
    let second = house.ended(house.request(1), StepOutcome::Failure).await;
    assert!(kernel.attempt_sealed(&house.patient(), &second, 1).await.unwrap());
    assert_eq!(house.lessons(LessonType::Failure).await[0].occurrences, 2);
}

/// A success within its means is told, if it asked for a budget; another is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_within_its_means_is_told() {
    let house = House::open().await;
    let kernel = &house.spine.kernel;
    let poor = house.ended(house.request(1), StepOutcome::Success).await;
    assert!(!kernel.attempt_sealed(&house.patient(), &poor, 1).await.unwrap());
    assert!(!kernel.attempt_sealed(&house.patient(), &new_id(), 1).await.unwrap());
    let requested = Some(Amounts { cost_microusd: 1_000, ..Amounts::default() });
    let rich = house.ended(pb::StartRunRequest { requested, ..house.request(1) }, StepOutcome::Success).await;
    assert!(kernel.attempt_sealed(&house.patient(), &rich, 1).await.unwrap(), "it is told");
    // Policies judges whether it is one: in a run without a step nothing was decided, so there is nothing to learn.
    assert!(house.lessons(LessonType::CriticalSuccess).await.is_empty());
}

/// A13.3: from 850 per mille on a signal is a lesson, at the limit it is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_near_its_limit_teaches() {
    let house = House::open().await;
    let kernel = &house.spine.kernel;
    let signal = |permille: u32| Signal {
        signal_id: new_id(),
        source: "limit-1".to_owned(),
        metric: "cost_microusd".to_owned(),
        unit: LimitUnit::CostMicrousd.into(),
        current: permille.into(),
        limit_value: 1_000,
        proximity_permille: permille,
        ..Signal::default()
    };
    for (permille, told) in [(849, false), (1_000, false), (850, true), (999, true)] {
        let done = kernel.signal_raised(&house.patient(), &signal(permille)).await.unwrap();
        assert_eq!(done, told, "{permille}");
    }
    let bands: Vec<_> = house.lessons(LessonType::NearThreshold).await.iter().map(|l| l.band()).collect();
    assert_eq!(bands, [policies::Band::B95, policies::Band::B85]);
}

/// A13.4: the fact, its incident and evidence, and that all of it is true; a repeat gives the first ids.
#[tokio::test(flavor = "multi_thread")]
async fn a_violation_is_reported_and_followed() {
    let house = House::open().await;
    let never = "forbid(principal, action in Runspine::Action::\"step\", resource) when { context.step_index > 900 };";
    let rules = [house.rule("r1", never).await, house.rule("r10", never).await];
    let (run_id, _) = house.run(1).await;
    let report = |rule_id: &str| pb::ReportViolationRequest {
        run_id: run_id.clone(),
        attempt: 1,
        step_index: Some(3),
        rule_id: rule_id.to_owned(),
        rule_code: "TOO_MUCH".to_owned(),
        kind: "PII".to_owned(),
        severity: "HIGH".to_owned(),
        value: "7".to_owned(),
        threshold: "0".to_owned(),
        reason: "seven names in the output".to_owned(),
        evidence: vec![pb::ReportedEvidence {
            digest: vec![4; 32].into(),
            kind: "OUTPUT".to_owned(),
            note: String::new(),
        }],
    };
    let mut seen = Vec::new();
    for rule in &rules {
        let mut told: pb::ReportViolationResponse =
            house.ask("spine.v1.GovernanceService/ReportViolation", report(rule)).await;
        // On a busy machine the first call may end before the saga does, and a repeat of it is told as one.
        for _ in 0..20 {
            let again: pb::ReportViolationResponse =
                house.ask("spine.v1.GovernanceService/ReportViolation", report(rule)).await;
            assert!(!again.first && again.violation_id == told.violation_id);
            told = again;
            if told.saga_complete {
                break;
            }
        }
        assert!(told.saga_complete && told.evidence_ids.len() == 2, "{told:?}");
        let truth = pb::ViolationTruth { fact: true, incident: true, evidence: true, unique: true };
        assert_eq!(told.truth, Some(truth));
        seen.push(told.incident_id);
    }
    assert!(seen[0] != seen[1] && seen.iter().all(|id| !id.is_empty()), "two rules are two incidents");
}
