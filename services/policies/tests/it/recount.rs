//! A7.1: what an attempt comes to, counted again from what can be read about it.

use contracts_policies::v1 as pb;
use runspine_testkit::{TestStore, on_both_engines, run};

use crate::{
    call,
    decided::on,
    harness::{House, ask_end, ask_step, fact},
};

const RUNS: u64 = 24;
const TOOLS: [&str; 7] = ["deny", "warn", "stop", "change", "later", "watch", "fine"];

/// A number below `most` that looks like chance, the same in every run of the test.
pub fn chance(of: u64, most: u64) -> u64 {
    let mixed = of.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)) % most
}

/// By §7.2, from what the evidence shows.
fn outcome(e: &pb::GetRunPolicyEvidenceResponse, steps: u32) -> pb::EvaluationOutcome {
    use pb::{ActionTaken as A, EvaluationOutcome as O};
    let stopped = |d: &pb::Decision| d.effective_verdict == 2 || d.effective_directive == 3;
    let told = |a: A| matches!(a, A::Warned | A::Audited | A::WouldBlock | A::Bypassed | A::Errored);
    if !e.violations.is_empty() {
        O::Violation
    } else if e.decisions.iter().any(stopped) {
        O::Prevented
    } else if e.enforcements.iter().any(|x| told(x.action())) || e.decisions.iter().any(|d| d.degraded) {
        O::Advisory
    } else if steps == 0 {
        O::NotApplicable
    } else {
        O::NoViolation
    }
}

on_both_engines! {
    /// Every mixture of what rules do gives the outcome that a recount gives.
    async fn an_evaluation_equals_a_recount(store: TestStore) {
        let house = House::over(store).await;
        house.rule(1, "deny", "", &on("deny")).await;
        house.rule(2, "warn", "@outcome(\"warn\")", &on("warn")).await;
        house.rule(3, "stop", "@run(\"terminate\")", &on("stop")).await;
        house.rule(4, "change", "@outcome(\"modify\") @obligations(\"cap_tokens(5)\")", &on("change")).await;
        house.rule(5, "later", "@outcome(\"defer\")", &on("later")).await;
        let watch = pb::RuleContent { mode: pb::RuleMode::Audit.into(), ..crate::harness::content("watch", "", &on("watch")) };
        let watch = house.create(6, watch).await.unwrap().rule.unwrap();
        house.activate(6, &watch).await.unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for number in 1..=RUNS {
            house.start(number).await;
            let steps = u32::try_from(chance(number, 4)).unwrap();
            // Few tools a run, so that mild mixtures are among them.
            let pick = |step: u32| TOOLS[usize::try_from(chance(number * 31 + u64::from(step), 7)).unwrap()];
            for step in 0..steps {
                house.step(ask_step(number, step, pick(step))).await.unwrap();
            }
            let mut end = ask_end(number, 0);
            if steps > 0 && chance(number, 3) == 0 {
                // What was done breaks what was decided when it was denied, or bound to fewer tokens.
                let broken = pb::StepFact { tokens_output: 9, ..fact(1, 0, pick(0)) };
                end.observed = vec![broken];
            }
            let evaluation = house.end(end).await.unwrap();
            let asked = pb::GetRunPolicyEvidenceRequest { run_id: run(number), attempt: 1 };
            let name = "DecisionService/GetRunPolicyEvidence";
            let evidence = call!(house, decisions.get_run_policy_evidence, name, asked).unwrap();
            assert_eq!(evaluation.outcome(), outcome(&evidence, steps), "run {number}: {evidence:?}");
            assert_eq!(evaluation.violations as usize, evidence.violations.len());
            assert_eq!(evaluation.decisions, evidence.counts);
            let degraded = evidence.decisions.iter().filter(|d| d.degraded).count();
            assert_eq!((evaluation.degraded_decisions as usize, evaluation.revision), (degraded, 0));
            seen.insert(evaluation.outcome());
        }
        assert!(seen.len() >= 4, "the mixtures are of every sort: {seen:?}");
    }
}
