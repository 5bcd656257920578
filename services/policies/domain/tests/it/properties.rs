//! What holds for every set of rules and every question.

use proptest::prelude::*;
use runspine_policies_domain::{
    decide::Ruling,
    facts::Inputs,
    words::{Directive, Mode, Profile, Verdict},
};

use crate::{
    generate::{Draft, case, draft, rules},
    support::{Case, compiled, snapshot, with_mode},
};

fn strictness(r: &Ruling) -> (u8, usize) {
    (r.verdict.restrictiveness(), usize::from(!r.warnings.is_empty()))
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    prop::collection::vec(draft(), 0..10)
}

fn profiles() -> impl Strategy<Value = Profile> {
    prop::sample::select(Profile::ALL.to_vec())
}

proptest! {
    // A1.1 asks for 10,000 cases, A6.5 for 100,000: `PROPTEST_CASES=100000`.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(600), ..ProptestConfig::default() })]

    /// A1.1, A6.5, the differential test: a slice decides as the whole snapshot does, reasons and all.
    #[test]
    fn a_slice_decides_as_the_whole_snapshot(drafts in drafts(), case in case(), p in profiles(), baseline: bool) {
        let case = case.under(p);
        let snapshot = snapshot(rules(&drafts), baseline);
        prop_assert_eq!(case.decide(&snapshot), case.decide_unsliced(&snapshot));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A3.1: a restriction more never loosens; a grant more never tightens.
    #[test]
    fn rules_are_monotone(drafts in drafts(), more in draft(), case in case(), p in profiles(), baseline: bool) {
        let case = case.under(p);
        let mut all = rules(&drafts);
        let before = case.decide(&snapshot(all.clone(), baseline));
        all.push(more.named(drafts.len()));
        let after = case.decide(&snapshot(all, baseline));
        if more.is_grant() {
            prop_assert!(after.verdict.restrictiveness() <= before.verdict.restrictiveness());
            prop_assert!(after.directive <= before.directive);
        } else {
            prop_assert!(after.verdict.restrictiveness() >= before.verdict.restrictiveness());
            prop_assert!(after.directive >= before.directive);
        }
    }

    /// A3.2: a restriction turned down never tightens.
    #[test]
    fn modes_are_monotone(drafts in drafts(), one in draft(), case in case(), p in profiles()) {
        prop_assume!(!one.is_grant());
        let case = case.under(p);
        let others = rules(&drafts);
        let one = one.named(drafts.len());
        let mut last: Option<Ruling> = None;
        for mode in [Mode::Block, Mode::Warn, Mode::Audit, Mode::Disabled] {
            let mut all = others.clone();
            if mode != Mode::Disabled {
                all.push(with_mode(&one, mode));
            }
            let ruling = case.decide(&snapshot(all, true));
            if let Some(last) = &last {
                prop_assert!(ruling.verdict.restrictiveness() <= last.verdict.restrictiveness(), "{mode:?}");
                prop_assert!(ruling.directive <= last.directive, "{mode:?}");
            }
            last = Some(ruling);
        }
    }

    /// A3.3: the order of the rules changes nothing, and no order of reasons.
    #[test]
    fn order_does_not_matter(drafts in drafts(), case in case()) {
        let all = rules(&drafts);
        let mut turned = all.clone();
        turned.reverse();
        prop_assert_eq!(case.decide(&snapshot(all, true)), case.decide(&snapshot(turned, true)));
    }

    /// A6.7: OBSERVE_ONLY computes what STANDARD decides, and tells the agent to go on.
    #[test]
    fn observe_only_computes_and_never_blocks(drafts in drafts(), case in case(), baseline: bool) {
        let snapshot = snapshot(rules(&drafts), baseline);
        let standard = case.decide(&snapshot);
        let observed = case.under(Profile::ObserveOnly).decide(&snapshot);
        prop_assert_eq!(observed.verdict, standard.verdict);
        prop_assert_eq!(observed.directive, standard.directive);
        prop_assert_eq!(&observed.reasons, &standard.reasons);
        prop_assert_eq!(observed.effective_verdict, Verdict::Allow);
        prop_assert_eq!(observed.effective_directive, Directive::Continue);
        prop_assert_eq!(standard.effective_verdict, standard.verdict);
    }

    /// A1.1, A7.5: the stored inputs decide again what was decided.
    #[test]
    fn stored_inputs_decide_again(drafts in drafts(), case in case(), p in profiles()) {
        let case = case.under(p);
        let snapshot = snapshot(rules(&drafts), true);
        let bytes = case.inputs().bytes();
        let read = Inputs::from_bytes(&bytes).unwrap();
        prop_assert_eq!(read.bytes(), bytes);
        let again = Case {
            principal: read.principal.clone().into_owned(),
            run: read.run.clone(),
            question: read.question.clone(),
            profile: read.profile,
            bypass: read.bypass.clone(),
            monitors: read.monitors.clone(),
            deferrals: read.deferrals,
        };
        prop_assert_eq!(again.decide(&snapshot), case.decide(&snapshot));
    }

    /// A6.2: no argument makes a decision looser by making a rule fail.
    #[test]
    fn a_failing_rule_is_never_a_rule_that_did_not_match(case in case(), p in profiles()) {
        let fails = crate::support::rule(
            "fails",
            "",
            "forbid(principal, action in Runspine::Action::\"step\", resource) \
             when { context.step_index + 9223372036854775807 + 1 > 0 };",
        );
        let case = case.under(p);
        let ruling = case.decide(&snapshot(vec![compiled(fails.meaning.clone())], true));
        prop_assert_eq!(ruling.verdict, Verdict::Deny);
        prop_assert!(ruling.failure.is_some());
        prop_assert_eq!(ruling.reasons[0].code.as_str(), "RULE_ERROR");
    }

    #[test]
    fn a_directive_follows_its_rule(drafts in drafts(), case in case()) {
        let ruling = case.decide(&snapshot(rules(&drafts), true));
        let highest = ruling.matches.iter().filter(|m| m.mode == Mode::Block).map(|m| m.directive).max();
        prop_assert_eq!(ruling.directive, highest.unwrap_or(Directive::Continue));
        prop_assert!(strictness(&ruling).0 <= 5);
    }
}
