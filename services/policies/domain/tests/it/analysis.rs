//! What is proven about sets of rules, and that it is true.

use std::sync::Arc;

use proptest::prelude::*;
use runspine_policies_domain::{
    analysis::{Analysis, analyze},
    compile::CompiledRule,
    decide::Ruling,
    rule::Meaning,
    words::{FindingKind, FindingSeverity, Scope},
};

use crate::{
    generate::{case, draft, rules},
    support::{NOW, compiled, meaning, rule, snapshot, text},
};

/// Few by default, because each compiles its rules; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(32)
}

/// Requests that a finding is tried with: those of A10.2 in a long run.
fn requests() -> usize {
    if std::env::var_os("PROPTEST_CASES").is_some() { 10_000 } else { 50 }
}

fn tool(condition: &str) -> String {
    format!("forbid(principal, action == Runspine::Action::\"tool_call\", resource){condition};")
}

fn of(rules: Vec<Arc<CompiledRule>>, baseline: bool) -> Analysis {
    analyze(&snapshot(rules, baseline), NOW, None)
}

/// A kind, the rule, and the other rule.
type Told<'a> = (FindingKind, &'a str, &'a str);

fn found(analysis: &Analysis) -> Vec<Told<'_>> {
    analysis.findings.iter().map(|f| (f.kind, f.rule_id.as_str(), f.other_rule_id.as_str())).collect()
}

/// A10.1: one of each kind, and nothing else that blocks.
#[test]
fn each_kind_is_found_where_it_was_planted() {
    let cases: Vec<(Vec<Arc<CompiledRule>>, Vec<Told<'_>>)> = vec![
        (
            vec![rule("a", "", &tool(" when { context.step_index > 5 && context.step_index < 6 }"))],
            vec![(FindingKind::Impossible, "a", "")],
        ),
        (
            vec![rule("a", "", &tool(" when { context.now.hour > 23 }"))],
            vec![(FindingKind::Impossible, "a", "")],
        ),
        (
            vec![
                rule(
                    "a",
                    "",
                    "permit(principal, action == Runspine::Action::\"tool_call\", resource == Runspine::Tool::\"t\");",
                ),
                rule("b", "", &tool("")),
            ],
            vec![(FindingKind::Contradiction, "a", "b")],
        ),
        (
            vec![
                rule(
                    "a",
                    "@outcome(\"modify\") @obligations(\"use_model(x)\")",
                    &tool(" when { context.step_index < 5 }"),
                ),
                rule(
                    "b",
                    "@outcome(\"modify\") @obligations(\"use_model(y)\")",
                    &tool(" when { context.step_index > 3 }"),
                ),
            ],
            vec![(FindingKind::Contradiction, "b", "a"), (FindingKind::PrecedenceTie, "b", "a")],
        ),
        (
            vec![
                rule(
                    "a",
                    "",
                    &tool(" when { context.totals.tokens > 10 && context.estimate.cost_microusd == 5 }"),
                ),
                rule("b", "", &tool(" when { context.totals.tokens > 8 }")),
            ],
            vec![(FindingKind::Shadowed, "a", "b"), (FindingKind::PrecedenceTie, "b", "a")],
        ),
        (
            vec![rule("a", "", &tool("")), rule("b", "", &tool(" when { true }"))],
            vec![(FindingKind::Duplicate, "b", "a")],
        ),
        (
            vec![
                rule("a", "", &tool(" when { context.totals.cost_microusd > 1000 }")),
                rule("b", "@outcome(\"warn\")", &tool(" when { context.totals.cost_microusd > 100 }")),
            ],
            vec![(FindingKind::ThresholdContradiction, "b", "a")],
        ),
        (
            vec![
                compiled(Meaning {
                    scope: Scope::Project,
                    scope_id: "p".into(),
                    ..meaning("a", &text("a", "", &tool(" when { context.step_index == 1 }")))
                }),
                rule("b", "@outcome(\"defer\")", &tool(" when { context.run.attempt == 2 }")),
            ],
            vec![(FindingKind::ScopeOverlap, "b", "a")],
        ),
        (
            vec![compiled(Meaning { effective_until: Some(NOW), ..meaning("a", &text("a", "", &tool(""))) })],
            vec![(FindingKind::Unreachable, "a", "")],
        ),
        (
            vec![rule("a", "", &tool(" when { context.totals.steps > 8 && context.totals.tokens > 8 }"))],
            vec![(FindingKind::MetricUnmonitored, "a", "")],
        ),
        (
            vec![rule("a", "", &tool(" when { context.step_index * 2 > 7 }"))],
            vec![(FindingKind::AnalysisIncomplete, "a", "")],
        ),
    ];
    for (rules, expected) in cases {
        let analysis = of(rules, true);
        assert_eq!(found(&analysis), expected, "{analysis:?}");
        assert!(analysis.findings.iter().all(|f| f.line == 2 && f.end_byte > f.start_byte));
    }
    let alone = of(vec![rule("a", "", &tool(""))], false);
    assert_eq!(found(&alone), [(FindingKind::Unreachable, "a", "")], "nothing is granted");
}

/// What excludes each other is told apart, whatever it is made of.
#[test]
fn conditions_that_exclude_each_other_are_told_apart() {
    let apart = [
        (
            " when { context has intent && context.intent == \"a\" }",
            " when { context has intent && context.intent == \"b\" }",
        ),
        (" when { context.run.taints.contains(\"x\") }", " unless { context.run.taints.contains(\"x\") }"),
        (" when { resource.server like \"a*\" }", " when { !(resource.server like \"a*\") }"),
        (" when { resource.side_effects }", " when { resource.side_effects == false }"),
        (" when { context.now.weekday >= 6 }", " when { context.now.weekday < 6 }"),
        (" when { context.step_index < 2 || context.step_index > 8 }", " when { context.step_index == 5 }"),
    ];
    for (a, b) in apart {
        let analysis = of(vec![rule("a", "", &tool(a)), rule("b", "@outcome(\"warn\")", &tool(b))], true);
        assert!(analysis.findings.is_empty(), "{a} {b}: {analysis:?}");
        assert_eq!(analysis.pairs, 1);
    }
}

/// A10.3: every pair is looked at.
#[test]
fn every_pair_is_looked_at() {
    let many: Vec<_> = (0..60)
        .map(|n| rule(&format!("r{n}"), "", &tool(&format!(" when {{ context.step_index == {n} }}"))))
        .collect();
    let analysis = of(many, true);
    assert_eq!((analysis.pairs, analysis.findings.len(), analysis.incomplete), (60 * 59 / 2, 0, 0));
}

/// A10.3: a thousand rules take 10 s at most, all their pairs looked at. A debug build is asked for fewer, and no time.
#[test]
fn a_thousand_rules_are_analyzed_in_time() {
    let count: u64 = if cfg!(debug_assertions) { 150 } else { 1_000 };
    let condition = |n: u64| match n % 3 {
        0 => format!(" when {{ context.step_index == {n} }}"),
        1 => format!(" when {{ context.totals.cost_microusd > {n} && context.run.attempt == 2 }}"),
        _ => format!(" when {{ context.run.labels.contains(\"l{n}\") || context.step_index > {n} }}"),
    };
    let many = (0..count).map(|n| rule(&format!("r{n}"), "@outcome(\"warn\")", &tool(&condition(n))));
    let snapshot = snapshot(many.collect(), true);
    let begun = std::time::Instant::now();
    let analysis = analyze(&snapshot, NOW, None);
    assert_eq!(analysis.pairs, count * (count - 1) / 2);
    let took = begun.elapsed();
    assert!(cfg!(debug_assertions) || took.as_secs() < 10, "{took:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    /// A10.2: a rule that is proven to decide nothing can go: verdict, directive and obligations stay.
    #[test]
    fn what_is_proven_dead_can_go(drafts in prop::collection::vec(draft(), 1..8), cases in prop::collection::vec(case(), requests())) {
        let all = rules(&drafts);
        let dead: Vec<String> = of(all.clone(), true)
            .findings
            .into_iter()
            .filter(|f| matches!(f.kind, FindingKind::Impossible | FindingKind::Shadowed | FindingKind::Duplicate))
            .map(|f| f.rule_id)
            .collect();
        for id in dead {
            let left = all.iter().filter(|r| r.meaning.rule_id != id).cloned().collect();
            let (with, without) = (snapshot(all.clone(), true), snapshot(left, true));
            for case in &cases {
                let seen = |r: Ruling| (r.verdict, r.directive, r.obligations, r.retry_after_ms, r.needs, r.taints_added);
                prop_assert_eq!(seen(case.decide(&with)), seen(case.decide(&without)), "{} was needed", id);
            }
        }
    }

    /// Looking at one rule finds what looking at all finds about it.
    #[test]
    fn a_focus_leaves_nothing_of_its_rule_out(drafts in prop::collection::vec(draft(), 1..6)) {
        let all = rules(&drafts);
        let id = all[0].meaning.rule_id.clone();
        let about = |f: &runspine_policies_domain::analysis::SetFinding| f.rule_id == id || f.other_rule_id == id;
        let mut whole = of(all.clone(), true).findings;
        whole.retain(about);
        let mut focused = analyze(&snapshot(all, true), NOW, Some(&id)).findings;
        focused.retain(about);
        prop_assert_eq!(whole, focused);
    }
}

#[test]
fn severities_are_those_of_the_kinds() {
    let analysis = of(vec![rule("a", "", &tool("")), rule("b", "", &tool(""))], true);
    assert!(analysis.findings.iter().all(|f| f.severity == FindingSeverity::Warning));
}
