//! Decisions by example: modes, bypass, deferral, taints, violations, times.

use runspine_policies_domain::{
    decide::{self, MAX_DEFERRALS},
    facts::{Bypass, Question, check_step},
    rule::Meaning,
    words::{ActionTaken, Category, Directive, Failure, Mode, Profile, Scope, StepKind, Verdict},
};

use crate::support::{Case, NOW, compiled, meaning, rule, snapshot, step, text, tool, tool_call, with_mode};

const ANY: &str = "forbid(principal, action in Runspine::Action::\"step\", resource);";

fn case() -> Case {
    Case::of(tool_call("t1"))
}

#[test]
fn an_empty_snapshot_denies_in_every_profile_and_tells_only_observe_only_to_go_on() {
    for profile in Profile::ALL {
        let ruling = case().under(*profile).decide(&snapshot(vec![], false));
        assert_eq!((ruling.verdict, ruling.reasons[0].code.as_str()), (Verdict::Deny, "NO_GRANT"));
        let told = if *profile == Profile::ObserveOnly { Verdict::Allow } else { Verdict::Deny };
        assert_eq!(ruling.effective_verdict, told);
    }
}

#[test]
fn the_baseline_grant_is_named_in_the_decision() {
    let ruling = case().decide(&snapshot(vec![], true));
    assert_eq!((ruling.verdict, ruling.grants), (Verdict::Allow, vec!["sys.baseline".to_owned()]));
}

#[test]
fn modes_turn_a_rule_down() {
    let deny = rule("deny", "@run(\"terminate\")", ANY);
    let expected = [
        (Mode::Block, Verdict::Deny, Directive::Terminate, ActionTaken::Blocked, 1, 0),
        (Mode::Warn, Verdict::Allow, Directive::Continue, ActionTaken::Warned, 0, 1),
        (Mode::Audit, Verdict::Allow, Directive::Continue, ActionTaken::Audited, 0, 0),
    ];
    for (mode, verdict, directive, action, reasons, warnings) in expected {
        let r = case().decide(&snapshot(vec![with_mode(&deny, mode)], true));
        assert_eq!((r.verdict, r.directive), (verdict, directive), "{mode:?}");
        assert_eq!((r.matches[0].action, r.reasons.len(), r.warnings.len()), (action, reasons, warnings));
        assert_eq!(r.violations.len(), usize::from(mode == Mode::Block), "deny + terminate is a violation");
    }
}

#[test]
fn the_primary_reason_is_the_strictest_then_the_lowest_precedence_then_the_lowest_id() {
    let at = |slug: &str, annotations: &str, precedence| {
        compiled(Meaning { precedence, ..meaning(slug, &text(slug, annotations, ANY)) })
    };
    let rules =
        vec![at("d", "", 900), at("c", "", 100), at("b", "", 100), at("a", "@outcome(\"defer\")", 1_000)];
    let ruling = case().decide(&snapshot(rules, true));
    let order: Vec<_> = ruling.reasons.iter().map(|r| r.rule_id.as_str()).collect();
    assert_eq!(order, ["b", "c", "d", "a"]);
}

#[test]
fn a_deferred_step_says_when_and_what_and_is_denied_at_last() {
    let rules = vec![
        rule("a", "@outcome(\"defer\") @obligations(\"retry_after(500); needs(x.y)\")", ANY),
        rule("b", "@outcome(\"defer\") @obligations(\"retry_after(900)\")", ANY),
    ];
    let snapshot = snapshot(rules, true);
    let ruling = case().decide(&snapshot);
    assert_eq!((ruling.verdict, ruling.retry_after_ms), (Verdict::Defer, 900));
    assert_eq!(ruling.needs, ["x.y"]);
    let mut question = step(StepKind::ToolCall, tool("t1"));
    question.ask = MAX_DEFERRALS;
    let mut case = Case::of(Question::Step(question));
    let last = case.decide(&snapshot);
    assert_eq!((last.verdict, last.reasons[0].code.as_str()), (Verdict::Deny, "DEFER_EXHAUSTED"));
    // It was asked as often, but one of the answers was another one: a person was waited for.
    case.deferrals = Some(MAX_DEFERRALS - 1);
    assert_eq!(case.decide(&snapshot).verdict, Verdict::Defer);
    case.deferrals = Some(MAX_DEFERRALS);
    assert_eq!(case.decide(&snapshot).verdict, Verdict::Deny);
}

#[test]
fn obligations_that_can_not_be_met_together_deny() {
    let rules = vec![
        rule("a", "@outcome(\"modify\") @obligations(\"use_model(m1)\")", ANY),
        rule("b", "@outcome(\"modify\") @obligations(\"use_model(m2)\")", ANY),
    ];
    let ruling = case().decide(&snapshot(rules.clone(), true));
    assert_eq!(ruling.verdict, Verdict::Deny);
    assert!(ruling.reasons.iter().any(|r| r.code == "OBLIGATION_CONFLICT"));
    let ruling = case().decide(&snapshot(rules[..1].to_vec(), true));
    assert_eq!((ruling.verdict, ruling.obligations[0].name.as_str()), (Verdict::Modify, "use_model"));
}

#[test]
fn a_bypass_covers_what_blocks_and_never_a_rule_of_the_mesh() {
    let own = rule("own", "", ANY);
    let system = compiled(Meaning {
        scope: Scope::Global,
        category: Category::System,
        precedence: 10,
        ..meaning("system", &text("system", "", ANY))
    });
    let bypass = |ids: &[&str], expires_at| Bypass {
        expires_at,
        id: "b1".into(),
        rule_ids: ids.iter().map(|i| (*i).to_owned()).collect(),
    };
    let decide = |rules, bypass| {
        let mut case = case();
        case.bypass = Some(bypass);
        case.decide(&snapshot(rules, true))
    };
    let r = decide(vec![own.clone()], bypass(&[], NOW + 1));
    assert_eq!((r.verdict, r.verdict_without_bypass), (Verdict::Allow, Verdict::Deny));
    assert_eq!((r.matches[0].action, r.bypass_id.as_str()), (ActionTaken::Bypassed, "b1"));
    assert_eq!(decide(vec![own.clone()], bypass(&[], NOW)).verdict, Verdict::Deny, "it has ended");
    assert_eq!(decide(vec![own], bypass(&["other"], NOW + 1)).verdict, Verdict::Deny);
    assert_eq!(decide(vec![system.clone()], bypass(&[], NOW + 1)).verdict, Verdict::Deny);
    assert_eq!(decide(vec![system], bypass(&["system"], NOW + 1)).verdict, Verdict::Deny);
    let mesh = compiled(Meaning { scope: Scope::Global, ..meaning("mesh", &text("mesh", "", ANY)) });
    assert_eq!(decide(vec![mesh], bypass(&["mesh"], NOW + 1)).verdict, Verdict::Deny);
    let mut nothing = case();
    nothing.bypass = Some(bypass(&[], NOW + 1));
    assert_eq!(nothing.decide(&snapshot(vec![], false)).verdict, Verdict::Deny, "never NO_GRANT");
}

#[test]
fn a_failed_restriction_is_decided_by_the_profile_and_a_failed_grant_never_allows() {
    let overflow = "when { context.step_index + 9223372036854775807 + 1 > 0 };";
    let head = "(principal, action in Runspine::Action::\"step\", resource)";
    let warns = rule("warns", "@outcome(\"warn\")", &format!("forbid{head} {overflow}"));
    let snapshot_ = snapshot(vec![warns], true);
    let strict = case().under(Profile::Strict).decide(&snapshot_);
    assert_eq!((strict.verdict, strict.reasons[0].code.as_str()), (Verdict::Deny, "RULE_ERROR"));
    let standard = case().decide(&snapshot_);
    assert_eq!((standard.verdict, standard.warnings.len()), (Verdict::Allow, 1), "its own outcome");
    assert_eq!(standard.failure, Some(Failure::EvaluationError));
    assert_eq!(standard.matches[0].action, ActionTaken::Errored);
    let grants = rule("grants", "", &format!("permit{head} {overflow}"));
    assert_eq!(case().decide(&snapshot(vec![grants], false)).verdict, Verdict::Deny);
}

#[test]
fn what_can_not_be_decided_is_decided_by_the_profile_and_a_recall_holds_in_all() {
    for failure in Failure::ALL {
        let decided = |p| decide::undecided(*failure, p, Directive::Continue);
        assert_eq!(decided(Profile::Strict).effective_verdict, Verdict::Deny);
        assert_eq!(decided(Profile::Standard).effective_verdict, Verdict::Allow);
        assert_eq!(decided(Profile::ObserveOnly).effective_verdict, Verdict::Allow);
        assert_eq!(decided(Profile::Standard).failure, Some(*failure));
    }
    let recalled = decide::recalled(Directive::Pause);
    assert_eq!((recalled.effective_verdict, recalled.effective_directive), (Verdict::Deny, Directive::Pause));
}

#[test]
fn a_rule_outside_its_time_is_skipped() {
    let timed = |from, until| {
        compiled(Meaning {
            effective_from: from,
            effective_until: until,
            ..meaning("t", &text("t", "", ANY))
        })
    };
    let verdict = |from, until| case().decide(&snapshot(vec![timed(from, until)], true)).verdict;
    assert_eq!(verdict(None, None), Verdict::Deny);
    assert_eq!(verdict(Some(NOW), None), Verdict::Deny);
    assert_eq!(verdict(Some(NOW + 1), None), Verdict::Allow);
    assert_eq!(verdict(None, Some(NOW)), Verdict::Allow);
}

#[test]
fn a_tainted_run_is_tainted_by_what_was_allowed_only() {
    let taints = rule("taints", "@outcome(\"warn\") @obligations(\"taint(pii)\")", ANY);
    let allowed = case().decide(&snapshot(vec![taints.clone()], true));
    assert_eq!(allowed.taints_added, ["pii"]);
    let denied = case().decide(&snapshot(vec![taints, rule("no", "", ANY)], true));
    assert!(denied.taints_added.is_empty());
}

#[test]
fn facts_that_are_too_large_are_refused_never_cut() {
    let ok = |change: fn(&mut runspine_policies_domain::facts::StepQuestion)| {
        let mut q = step(StepKind::ToolCall, tool("t1"));
        change(&mut q);
        check_step(&q, &["pay".to_owned()]).map_err(|f| f.reason().name)
    };
    assert_eq!(ok(|_| {}), Ok(()));
    assert_eq!(ok(|q| q.intent = "pay".into()), Ok(()));
    assert_eq!(ok(|q| q.intent = "steal".into()), Err("INTENT_UNKNOWN"));
    assert_eq!(ok(|q| q.mode = "read".into()), Err("FIELD_INVALID"));
    assert_eq!(ok(|q| q.resource.id.clear()), Err("FIELD_INVALID"));
    let large = |q: &mut runspine_policies_domain::facts::StepQuestion| {
        q.arguments.text.insert("a".into(), "x".repeat(1_025));
    };
    assert_eq!(ok(large), Err("ARGUMENTS_TOO_LARGE"));
    let many = |q: &mut runspine_policies_domain::facts::StepQuestion| {
        q.arguments.number.extend((0..65).map(|n| (format!("n{n}"), n)));
    };
    assert_eq!(ok(many), Err("ARGUMENTS_TOO_LARGE"));
}
