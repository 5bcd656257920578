//! How alike an output has to be.

use contracts_common::common::v1::{Directive, Verdict as Decided};
use contracts_logs::v1::{self as pb, ReplayLevel as Level, ReplayMatch as Match, ReplayVerdict as Verdict};
use runspine_testkit::{TestStore, on_both_engines, run};

use super::harness::*;
use crate::traces::harness::House;

/// Does a step again in another way.
type Change = fn(&mut pb::ReplayedStep);

fn decided(verdict: Decided, directive: Directive, rules: &[&str]) -> pb::ReplayDecision {
    pb::ReplayDecision {
        verdict: verdict.into(),
        directive: directive.into(),
        rule_ids: rules.iter().map(|rule| (*rule).to_owned()).collect(),
    }
}

on_both_engines! {
    async fn each_level_passes_what_it_says(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let same_shape = r#"{"refunded":null}"#;
        let exact = again(1);
        let logical = pb::ReplayedStep { decisions: allowed(), ..otherwise(1, "quite another text") };
        let semantic = otherwise(1, same_shape);
        let neither = otherwise(1, r#"{"refused_":true}"#);
        let expected = [
            (Level::Strict, [Match::Exact, Match::None, Match::None, Match::None]),
            (Level::Logical, [Match::Exact, Match::Logical, Match::None, Match::None]),
            (Level::Semantic, [Match::Exact, Match::Logical, Match::Semantic, Match::None]),
        ];
        for (id, (level, matches)) in (1..).zip(expected) {
            let replay = begun(&house, order(id, 1, level)).await;
            let steps = [&exact, &logical, &semantic, &neither];
            for (step, matched) in steps.into_iter().zip(matches) {
                let answer = one(&house, &replay, step.clone()).await;
                let verdict = if matched == Match::None { Verdict::Mismatch } else { Verdict::Match };
                assert_eq!((answer.r#match(), answer.verdict()), (matched, verdict), "{level:?} {step:?}");
            }
        }
    }

    /// A10.3: emptiness is no agreement, and a rule that decided twice is not one that decided once.
    async fn decisions_are_compared_with_multiplicity(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let replay = begun(&house, order(1, 1, Level::Logical)).await;
        let with = |index, decisions| pb::ReplayedStep { decisions, ..otherwise(index, "another") };
        let none = one(&house, &replay, with(2, Vec::new())).await;
        assert_eq!((none.verdict(), none.r#match()), (Verdict::Mismatch, Match::None), "nobody decided, twice");
        let allow = || decided(Decided::Allow, Directive::Unspecified, &["rule-1"]);
        let cases = [
            (vec![allow()], true),
            (vec![decided(Decided::Allow, Directive::Pause, &["rule-1"])], true),
            (vec![allow(), allow()], false),
            (vec![decided(Decided::Allow, Directive::Continue, &["rule-1", "rule-1"])], false),
            (vec![decided(Decided::Allow, Directive::Continue, &["rule-2"])], false),
            (vec![decided(Decided::Deny, Directive::Continue, &["rule-1"])], false),
            (Vec::new(), false),
        ];
        for (decisions, same) in cases {
            let answer = one(&house, &replay, with(1, decisions.clone())).await;
            assert_eq!(answer.r#match() == Match::Logical, same, "{decisions:?}");
            assert_eq!(answer.reasons.iter().any(|reason| reason == "DECISION"), !same, "{decisions:?}");
        }
    }

    /// Mode DRIVE: what the rules decided is on the trace of the run that does the steps, and nowhere else.
    async fn a_driven_step_is_judged_by_its_own_trace(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        recorded(&house, 2).await;
        let drive = |id, number| pb::StartReplayRequest { driven_run_id: run(number), ..order(id, 1, Level::Logical) };
        let replay = begun(&house, drive(1, 2)).await;
        let shown = get(&house, 1, &replay).await.unwrap().replay.unwrap();
        assert_eq!((shown.mode(), shown.driven_run_id), (pb::ReplayMode::Drive, run(2)));
        let denied = vec![decided(Decided::Deny, Directive::Terminate, &["rule-9"])];
        let claimed = |index, decisions: &[pb::ReplayDecision]| pb::ReplayedStep {
            decisions: decisions.to_vec(),
            ..otherwise(index, "another")
        };
        let answer = one(&house, &replay, claimed(1, &denied)).await;
        assert_eq!(answer.r#match(), Match::Logical, "its trace says what the record says");
        let answer = one(&house, &replay, claimed(2, &allowed())).await;
        assert_eq!((answer.r#match(), answer.reasons), (Match::None, vec!["OUTPUT".to_owned()]), "nobody decided");
        let answer = one(&house, &replay, claimed(2, &denied)).await;
        assert_eq!(answer.reasons, ["OUTPUT"], "whatever it claims");
        let nowhere = begun(&house, drive(2, 9)).await;
        let answer = one(&house, &nowhere, claimed(1, &allowed())).await;
        assert_eq!(answer.reasons, ["OUTPUT", "DECISION"], "a run without a trace was not decided about");
        let checks = get(&house, 1, &replay).await.unwrap().checks;
        let kept = vec![decided(Decided::Allow, Directive::Continue, &["rule-1"])];
        assert_eq!(checks[2].step.as_ref().unwrap().decisions, kept, "what counted is what is kept");
    }

    async fn what_was_done_has_to_be_the_same_at_every_level(store: TestStore) {
        let house = House::over(store).await;
        recorded(&house, 1).await;
        let changes: [(&str, Change); 5] = [
            ("KIND", |step| step.kind = 8),
            ("NAME", |step| step.name = "other".into()),
            ("PARAMETERS", |step| step.parameters_json = "{}".into()),
            ("OUTCOME", |step| step.outcome = 2),
            ("CODE", |step| step.outcome_code = "LATE".into()),
        ];
        for (id, level) in (1..).zip([Level::Strict, Level::Logical, Level::Semantic]) {
            let replay = begun(&house, order(id, 1, level)).await;
            for (reason, change) in changes {
                let mut step = again(1);
                change(&mut step);
                let answer = one(&house, &replay, step).await;
                assert_eq!((answer.verdict(), answer.r#match()), (Verdict::Mismatch, Match::Exact));
                assert_eq!(answer.reasons, [reason], "{level:?}");
            }
        }
    }

    /// A step whose output was never digested can't pass a check.
    async fn no_record_is_no_pass(store: TestStore) {
        let house = House::over(store).await;
        house.sealed_run(1).await;
        let replay = begun(&house, order(1, 1, Level::Strict)).await;
        let step = pb::ReplayedStep {
            step_index: 0,
            kind: 2,
            name: "weather.get".into(),
            outcome: 1,
            ..Default::default()
        };
        let answer = one(&house, &replay, step).await;
        assert_eq!((answer.verdict(), answer.reasons), (Verdict::Mismatch, vec!["NO_RECORD".to_owned()]));
    }
}
