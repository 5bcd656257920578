//! What a replay finds, whatever was reported in whatever order.

use contracts_common::common::v1::{DecisionSource, StepOutcome, Verdict};
use contracts_logs::v1::{
    Decision, ReplayBehaviour, ReplayCheck, ReplayLevel, ReplayResult, ReplayVerdict, ReplayedStep, Step,
    TraceRecord, trace_record::Body,
};
use proptest::prelude::*;
use runspine_logs_domain::replay::{Held, Recording, found, judge};

fn recording(steps: u32) -> Recording {
    let mut recording = Recording::default();
    for index in 0..steps {
        let step = Step {
            name: format!("step-{index}"),
            outcome: StepOutcome::Success.into(),
            output_digest: vec![u8::try_from(index).unwrap(); 32].into(),
            output_ref: vec![9; 32].into(),
            ..Default::default()
        };
        let record = TraceRecord {
            position: u64::from(index) + 1,
            step_index: Some(index),
            body: Some(Body::Step(step)),
            ..Default::default()
        };
        recording.take(record);
    }
    recording
}

#[derive(Debug, Clone, Copy)]
struct Report {
    index: u32,
    does: ReplayBehaviour,
    same_output: bool,
    same_name: bool,
    erased: bool,
}

fn reports(steps: u32) -> impl Strategy<Value = Vec<Report>> {
    let does = prop_oneof![
        Just(ReplayBehaviour::Execute),
        Just(ReplayBehaviour::Skip),
        Just(ReplayBehaviour::Check)
    ];
    let flags = [0.8, 0.9, 0.1].map(proptest::bool::weighted);
    let [same_output, same_name, erased] = flags;
    let one = (0..=steps, does, same_output, same_name, erased).prop_map(
        |(index, does, same_output, same_name, erased)| Report {
            index,
            does,
            same_output,
            same_name,
            erased,
        },
    );
    proptest::collection::vec(one, 0..24)
}

fn noted(recording: &Recording, report: Report) -> ReplayCheck {
    let name = if report.same_name { format!("step-{}", report.index) } else { "other".to_owned() };
    let digest = if report.same_output { u8::try_from(report.index).unwrap() } else { 77 };
    let step = ReplayedStep {
        step_index: report.index,
        name,
        outcome: StepOutcome::Success.into(),
        output_digest: vec![digest; 32].into(),
        ..Default::default()
    };
    let held = Held { erased: report.erased, ..Default::default() };
    let recorded = recording.get(report.index);
    let judged = judge(ReplayLevel::Strict, report.does, recorded, &step, &held);
    ReplayCheck {
        step: Some(step),
        verdict: judged.verdict.into(),
        r#match: judged.matched.into(),
        reasons: judged.reasons.into_iter().map(str::to_owned).collect(),
        ..Default::default()
    }
}

/// What a limit refused says nothing about the rules; what was allowed says that they allowed it, if they were asked.
#[test]
fn decisions_are_those_that_rules_made() {
    let cases = [
        (DecisionSource::Policy, Verdict::Deny, false, true),
        (DecisionSource::Policy, Verdict::Allow, false, true),
        (DecisionSource::Freeze, Verdict::Allow, true, true),
        (DecisionSource::Profile, Verdict::Allow, true, true),
        (DecisionSource::Profile, Verdict::Allow, false, false),
        (DecisionSource::Limit, Verdict::Deny, true, false),
        (DecisionSource::Lease, Verdict::Deny, false, false),
    ];
    for (source, verdict, asked, counts) in cases {
        let decision = Decision {
            decision_id: "d".into(),
            source: source.into(),
            verdict: verdict.into(),
            facts_digest: if asked { vec![1; 32].into() } else { Vec::new().into() },
            ..Default::default()
        };
        let mut recording = Recording::default();
        recording.take(TraceRecord {
            position: 1,
            step_index: Some(0),
            body: Some(Body::Decision(decision)),
            ..Default::default()
        });
        assert_eq!(recording.decisions(0).len(), usize::from(counts), "{source:?} {verdict:?} {asked}");
    }
}

proptest! {
    #[test]
    fn parity_is_said_of_whole_and_equal_replays_only(list in reports(4)) {
        let recording = recording(4);
        let checks: Vec<_> = list.into_iter().map(|report| noted(&recording, report)).collect();
        let whole = found(&recording, &checks, (42, None));
        let totals = whole.totals;
        let last = |index: u32| checks.iter().rev().find(|c| c.step.as_ref().unwrap().step_index == index);
        let beyond = last(4).is_some();
        let reported = (0..4).filter(|index| last(*index).is_some()).count() as u64;
        let outcomes = totals.executed + totals.skipped + totals.checked + totals.unknown;
        prop_assert_eq!(outcomes, reported + u64::from(beyond), "each step has one outcome");
        prop_assert_eq!(totals.unreported, 4 - reported);
        prop_assert!(totals.matched <= totals.checked);
        let mismatch = checks.iter().any(|check| check.verdict() == ReplayVerdict::Mismatch);
        let unknown = (0..4).any(|index| last(index).is_some_and(|c| c.verdict() == ReplayVerdict::UnknownStep));
        match whole.result {
            ReplayResult::Parity => {
                prop_assert!(!mismatch && !beyond && !unknown && reported == 4 && whole.same_behaviour);
                prop_assert_eq!(whole.recorded_signature, whole.replayed_signature);
            }
            ReplayResult::Diverged => prop_assert!(whole.first_divergence.is_some()),
            ReplayResult::Incomplete => {
                prop_assert!(!mismatch && !beyond && (unknown || reported < 4));
                prop_assert!(whole.first_divergence.is_none());
            }
            ReplayResult::Unspecified => prop_assert!(false, "a replay finds something"),
        }
        // The first thing that differed is what is told, whatever came later.
        let first = checks.iter().find(|check| {
            check.verdict() == ReplayVerdict::Mismatch || check.reasons.iter().any(|reason| reason == "INDEX")
        });
        if let Some(first) = first {
            let told = whole.first_divergence.unwrap();
            prop_assert_eq!(told.step_index, first.step.as_ref().unwrap().step_index);
            prop_assert_eq!(&told.reasons, &first.reasons);
        }
    }
}
