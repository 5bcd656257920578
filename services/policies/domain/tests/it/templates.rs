//! A9.1: every template makes rules that can be activated, whatever fits its places; each meets what it is about, and
//! nothing else.

use std::collections::BTreeSet;

use runspine_errors::{Violations, mesh};
use runspine_policies_domain::{
    facts::{EndQuestion, Question, Resource, StepQuestion},
    rule::Meaning,
    template::{Expanded, Parameter, SLUG, TEMPLATES, Template, Values, find, places},
    words::{ResourceType, StepKind, StepOutcome, TemplateValue, Verdict},
};

use crate::support::{Case, compiled, ended, meaning, snapshot, step, tool};

type Given = Vec<(String, Vec<String>)>;
/// Values as they are written in a test.
type Written = [(&'static str, &'static [&'static str])];

/// The rule `t` of a template; what is not given is as in the example.
fn made(template: &'static Template, mut given: Given) -> Meaning {
    for p in template.parameters().filter(|p| !p.example.is_empty()) {
        if !given.iter().any(|(name, _)| name == p.name) {
            given.push((p.name.to_owned(), p.example.iter().map(|e| (*e).to_owned()).collect()));
        }
    }
    let mut v = Violations::new();
    let values = template.values(&given, &mut v, "a");
    v.into_result(&mesh::FIELD_INVALID).unwrap_or_else(|e| panic!("{}: {e} {:?}", template.id, e.fields()));
    expanded(template, &values)
}

fn expanded(template: &'static Template, values: &Values) -> Meaning {
    match template.expand("t", values) {
        Expanded::Cedar(cedar) => meaning("t", &cedar),
        Expanded::Sequence(body) => {
            body.check().unwrap_or_else(|e| panic!("{}: {e}", template.id));
            Meaning { cedar: body.cedar("t"), sequence: Some(*body), ..meaning("t", "") }
        }
    }
}

/// Nothing is found in it.
fn is_valid(id: &str, rule: &Meaning) {
    let found = rule.check().findings;
    assert!(found.is_empty(), "{id}: {found:?}\n{}", rule.cedar);
}

/// Nothing is found in it, and it decides questions without failing.
fn is_sound(id: &str, rule: Meaning) {
    is_valid(id, &rule);
    let questions = StepKind::ALL.iter().map(|kind| about(*kind, "x1"));
    let snapshot = snapshot(vec![compiled(rule)], true);
    for question in questions {
        assert_eq!(Case::of(Question::Step(question)).decide(&snapshot).failure, None, "{id}");
    }
}

/// Values at the edges of what fits, the ugliest that there are.
fn extremes(p: &Parameter) -> Vec<Vec<String>> {
    let longest = usize::try_from(p.range.most).unwrap();
    let one: Vec<String> = match p.kind {
        TemplateValue::Integer => vec![p.range.least.to_string(), p.range.most.to_string()],
        TemplateValue::Word => p.choices.iter().map(|c| (*c).to_owned()).collect(),
        TemplateValue::Text | TemplateValue::Pattern => [
            "\"".repeat(longest),
            "\\".repeat(longest),
            "é".repeat(longest / 2),
            "*".into(),
            "{}".into(),
            "{{slug}}".into(),
        ]
        .to_vec(),
        TemplateValue::Name => vec!["a".into(), format!("a.{}", "b".repeat(longest - 2))],
        TemplateValue::Reason => vec!["ABC".into(), "A".repeat(64)],
        TemplateValue::Window => {
            vec!["run".into(), "steps:10000".into(), "time:1".into(), "time:2592000".into()]
        }
        TemplateValue::Head | TemplateValue::Condition => return Vec::new(),
    };
    let most = usize::try_from(p.count.most).unwrap();
    one.into_iter().flat_map(|value| [vec![value.clone()], vec![value; most]]).collect()
}

#[test]
fn each_place_has_a_parameter_and_each_parameter_a_place() {
    let ids: BTreeSet<&str> = TEMPLATES.iter().map(|t| t.id).collect();
    assert_eq!(ids.len(), TEMPLATES.len(), "a name is given once");
    assert!(TEMPLATES.len() >= 37);
    for template in TEMPLATES {
        assert_eq!(find(template.id).map(|t| t.title), Some(template.title));
        let named: BTreeSet<&str> = template.parameters().map(|p| p.name).collect();
        let placed: BTreeSet<&str> = template.texts().into_iter().flat_map(places).collect();
        assert!(placed.iter().all(|p| *p == SLUG || named.contains(p)), "{}: {placed:?}", template.id);
        // `reason`, `message` and labels of a sequence are fields of their own.
        let fields = ["reason", "message", "labels"];
        let unused: Vec<_> = named.iter().filter(|n| !placed.contains(*n) && !fields.contains(n)).collect();
        assert!(unused.is_empty(), "{}: {unused:?}", template.id);
        for p in template.parameters() {
            assert!(!p.description.is_empty() && !p.example.is_empty(), "{}.{}", template.id, p.name);
        }
    }
}

#[test]
fn every_template_makes_sound_rules_up_to_its_edges() {
    let mut made_rules = 0;
    for template in TEMPLATES {
        is_sound(template.id, made(template, vec![]));
        for p in template.parameters() {
            for value in extremes(&p) {
                is_valid(template.id, &made(template, vec![(p.name.to_owned(), value)]));
                made_rules += 1;
            }
        }
        // All edges at once: the longest text that the template can make.
        let widest = |p: Parameter| {
            Some((p.name.to_owned(), extremes(&p).into_iter().max_by_key(|v| v.concat().len())?))
        };
        is_sound(template.id, made(template, template.parameters().filter_map(widest).collect()));
    }
    assert!(made_rules > 500, "{made_rules}");
}

#[test]
fn what_does_not_fit_is_refused_all_at_once() {
    let wrong = |id: &str, given: &Written| {
        let given: Given = given
            .iter()
            .map(|(name, values)| ((*name).to_owned(), values.iter().map(|v| (*v).to_owned()).collect()))
            .collect();
        let mut v = Violations::new();
        find(id).unwrap().values(&given, &mut v, "a");
        let fault = v.into_result(&mesh::FIELD_INVALID).unwrap_err();
        fault.fields().iter().map(|f| (f.field.clone(), f.reason)).collect::<Vec<_>>()
    };
    let of = |field: &str, reason: &'static str| (field.to_owned(), reason);
    assert_eq!(wrong("ACTION_BLOCK", &[]), [of("a.tools", "OUT_OF_RANGE")], "there is no default");
    let found =
        wrong("REFUND_CEILING", &[("tool", &["x"]), ("max", &["1e3"]), ("key", &["a b"]), ("tools", &[""])]);
    let expected = [
        of("a.tool", "UNKNOWN"),
        of("a.tools", "OUT_OF_RANGE"),
        of("a.key", "MALFORMED"),
        of("a.max", "OUT_OF_RANGE"),
    ];
    assert_eq!(found, expected);
    let cases: [(&str, &Written, &str); 9] = [
        ("DELEGATION_DEPTH", &[("max_depth", &["17"])], "OUT_OF_RANGE"),
        ("DELEGATION_DEPTH", &[("max_depth", &["+3"])], "OUT_OF_RANGE"),
        ("DELEGATION_DEPTH", &[("max_depth", &["1", "2"])], "OUT_OF_RANGE"),
        ("DELEGATION_DEPTH", &[("max_depth", &["1"]), ("max_depth", &["2"])], "NOT_UNIQUE"),
        ("DELEGATION_DEPTH", &[("reason", &["lower"])], "MALFORMED"),
        ("LABEL_GUARD", &[("labels", &["x"]), ("directive", &["continue"])], "MALFORMED"),
        (
            "HARD_STOP",
            &[("condition", &["true }; permit (principal, action, resource) when { true"])],
            "MALFORMED",
        ),
        ("COOLDOWN", &[("events", &["(principal, action, resource)"])], "MALFORMED"),
        ("TAINT_BLOCK", &[("labels", &["a b"])], "MALFORMED"),
    ];
    for (id, given, reason) in cases {
        assert!(wrong(id, given).iter().any(|(_, r)| *r == reason), "{id} {given:?}");
    }
}

fn about(kind: StepKind, id: &str) -> StepQuestion {
    step(kind, Resource::unregistered(kind.resources()[0], id))
}

/// A step of a kind, changed.
fn asked(kind: StepKind, id: &str, change: impl FnOnce(&mut StepQuestion)) -> Case {
    let mut question = about(kind, id);
    change(&mut question);
    Case::of(Question::Step(question))
}

fn called(id: &str) -> Case {
    asked(StepKind::ToolCall, id, |_| {})
}

fn says(kind: StepKind, key: &str, text: &str) -> Case {
    asked(kind, "x1", |q| q.arguments.text.extend([(key.into(), text.into())]))
}

fn pays(tool: &str, amount: i64) -> Case {
    asked(StepKind::ToolCall, tool, |q| q.arguments.number.extend([("amount_microusd".into(), amount)]))
}

fn counted(case: Case, value: i64) -> Case {
    Case { monitors: [("m.t".to_owned(), value)].into(), ..case }
}

fn tainted(mut case: Case) -> Case {
    case.run.taints.push("sensitive".into());
    case
}

fn of_run(mut case: Case, label: &str) -> Case {
    case.run.labels.push(label.into());
    case
}

fn reads(sensitivity: u32, mode: &str) -> Case {
    asked(StepKind::DataAccess, "customers", |q| {
        (q.resource.sensitivity, q.mode) = (sensitivity, mode.into());
        q.resource.labels = if sensitivity == 3 { vec!["env:prod".into()] } else { vec![] };
    })
}

fn labelled(label: &str) -> Case {
    let mut question = ended();
    (question.outcome, question.output_labels) = (StepOutcome::Success, vec![label.into()]);
    Case::of(Question::Ended(question))
}

/// A request that a rule of the template matches, what becomes of it, and one that it does not match.
#[allow(clippy::too_many_lines, reason = "one line for each template")]
fn requests(id: &str) -> (Case, Verdict, Case) {
    use StepKind as K;
    use Verdict::{Defer, Deny, Modify, RequireApproval};
    let costs = |run: i64, step: i64| {
        asked(K::LlmCall, "m1", |q| (q.totals.cost_microusd, q.estimate.cost_microusd) = (run, step))
    };
    let uses = |run: i64, step: i64| {
        asked(K::LlmCall, "m1", |q| (q.totals.tokens_input, q.estimate.tokens_output) = (run, step))
    };
    let in_group = |group: &str| asked(K::ToolCall, "t1", |q| q.resource.groups.push(group.into()));
    let urgent = |priority: u32| {
        let mut case = asked(K::LlmCall, "m1", |_| {});
        case.run.priority = priority;
        case
    };
    let deep = |depth: u32| {
        let mut case = asked(K::SpawnAgent, "agent-2", |_| {});
        case.run.delegation_depth = depth;
        case
    };
    let listed = |value: &str| {
        asked(K::ToolCall, "t1", |q| q.arguments.list.extend([("recipients".into(), vec![value.into()])]))
    };
    let calls = |host: &str| asked(K::ExternalCall, &format!("https://{host}/v1"), |_| {});
    let ends = || Case::of(Question::End(EndQuestion::default()));
    let failed = |failures: i64| asked(K::ToolCall, "t1", |q| q.totals.failures = failures);
    let changes = |side_effects: bool| asked(K::ToolCall, "t1", |q| q.resource.side_effects = side_effects);
    match id {
        "ACTION_BLOCK" => (called("shell"), Deny, called("search")),
        "GROUP_BLOCK" => (in_group("payments"), Deny, in_group("reports")),
        "TOOL_ALLOW_LIST" => (called("shell"), Deny, called("search")),
        "MODEL_ALLOW_LIST" => (asked(K::LlmCall, "old", |_| {}), Deny, asked(K::LlmCall, "gpt-4.1", |_| {})),
        "HOST_ALLOW_LIST" => (calls("evil.example"), Deny, calls("api.example.com")),
        "ENVIRONMENT_GATE" => (called("deploy"), Deny, of_run(called("deploy"), "env:prod")),
        "PROD_DATA_ACCESS" => (reads(3, "WRITE"), Deny, of_run(reads(3, "WRITE"), "change-approved")),
        "DELEGATION_DEPTH" => (deep(3), Deny, deep(2)),
        "ESCALATION_REQUIRED" => (called("issue_refund"), RequireApproval, called("search")),
        "SANDBOX_CODE" => (asked(K::ExecuteCode, "python", |_| {}), Modify, called("python")),
        "PATTERN_BLOCK" => (
            says(K::ToolCall, "text", "please drop table users"),
            Deny,
            says(K::ToolCall, "text", "select 1"),
        ),
        "PII_CONTENT_BLOCK" => {
            (says(K::LlmCall, "text", "mail ann@example.com"), Deny, says(K::LlmCall, "text", "mail her"))
        }
        "VALUE_BLOCK" => (listed("all@example.com"), Deny, listed("ann@example.com")),
        "REDACT_ARGUMENTS" => (called("t1"), Modify, asked(K::LlmCall, "m1", |_| {})),
        "SENSITIVE_DATA" => (reads(2, "READ"), Verdict::Allow, reads(1, "READ")),
        "EGRESS_AFTER_TAINT" => (tainted(calls("evil.example")), Deny, calls("evil.example")),
        "LABEL_GUARD" => (labelled("toxic"), Deny, labelled("kind")),
        "SPEND_CEILING" => (costs(4_999_999, 2), Deny, costs(4_999_999, 1)),
        "TOKEN_CEILING" => (uses(999_000, 1_001), Deny, uses(999_000, 1_000)),
        "SPEND_APPROVAL" => (costs(4_999_999, 2), RequireApproval, costs(4_999_999, 1)),
        "REFUND_CEILING" => (pays("issue_refund", 50_000_001), Deny, pays("issue_refund", 50_000_000)),
        "REFUND_TOTAL_DAILY" => (
            counted(pays("issue_refund", 2), 499_999_999),
            Deny,
            counted(pays("issue_refund", 1), 499_999_999),
        ),
        "TOKEN_CAP" => (asked(K::LlmCall, "m1", |_| {}), Modify, called("t1")),
        "CUMULATIVE_DAILY" => (counted(costs(0, 2), 49_999_999), Deny, counted(costs(0, 1), 49_999_999)),
        "CUMULATIVE_WEEKLY" => (counted(costs(0, 2), 199_999_999), Deny, counted(costs(0, 1), 199_999_999)),
        // The clock of the tests is Saturday, 10:00.
        "TIME_OF_DAY" => (called("t1"), Deny, labelled("any")),
        "OFF_HOURS_CHANGES" => (changes(true), RequireApproval, changes(false)),
        "DEFER_LOW_PRIORITY" => (urgent(4), Defer, urgent(5)),
        "DEFER_UNTIL_ARGUMENT" => (
            called("close_ticket"),
            Defer,
            asked(K::ToolCall, "close_ticket", |q| q.arguments.number.extend([("ticket_id".into(), 7)])),
        ),
        "SLIDING_WINDOW" => (counted(called("t1"), 100), Deny, counted(called("t1"), 99)),
        "BURST_LIMIT" => (counted(called("t1"), 20), Deny, counted(called("t1"), 19)),
        "COOLDOWN" => (counted(called("t1"), 60_000), Deny, counted(called("t1"), 60_001)),
        "TOOL_AFTER_TOOL" => (called("issue_refund"), Deny, counted(called("issue_refund"), 1)),
        "TOOL_LEADS_TO_TOOL" => (counted(ends(), 1), Deny, counted(ends(), 0)),
        "TAINT_BLOCK" => (tainted(calls("api.example.com")), Deny, calls("api.example.com")),
        "HARD_STOP" => (failed(20), Deny, failed(19)),
        other => panic!("{other} has no requests"),
    }
}

#[test]
fn each_meets_what_it_is_about_and_nothing_else() {
    for template in TEMPLATES.iter().filter(|t| t.id != "TOOL_GRANT") {
        let weekend = vec![("weekdays".to_owned(), vec!["6".to_owned()])];
        let rule = made(template, if template.id == "DEFER_LOW_PRIORITY" { weekend } else { vec![] });
        let snapshot = snapshot(vec![compiled(rule)], true);
        let (meets, verdict, misses) = requests(template.id);
        let ruling = meets.decide(&snapshot);
        assert_eq!((ruling.matches.len(), ruling.failure), (1, None), "{}", template.id);
        assert_eq!(ruling.verdict, verdict, "{}", template.id);
        assert_eq!(ruling.matches[0].code, template.reason, "{}", template.id);
        let ruling = misses.decide(&snapshot);
        assert_eq!((ruling.matches.len(), ruling.failure), (0, None), "{}", template.id);
    }
}

/// What is granted is granted, and nothing else is.
#[test]
fn a_grant_of_tools_grants_them() {
    let rule = made(find("TOOL_GRANT").unwrap(), vec![]);
    let snapshot = snapshot(vec![compiled(rule)], false);
    assert_eq!(called("search").decide(&snapshot).verdict, Verdict::Allow);
    assert_eq!(called("shell").decide(&snapshot).verdict, Verdict::Deny);
    assert_eq!(tool("search").kind, ResourceType::Tool);
}
