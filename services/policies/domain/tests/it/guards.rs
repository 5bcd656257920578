//! A guard says no where Cedar says no, and never where Cedar matches or fails.

use proptest::prelude::*;
use runspine_policies_domain::{
    condition::{Answer, Asked},
    entities::Needs,
    facts::{Arguments, EndQuestion, EndedQuestion, Question, Resource, StartQuestion},
    guard::Facts,
    slice::resource_of,
    words::{ResourceType, StepKind, StepOutcome},
};

use crate::support::{Case, rule, snapshot, step};

/// Truths about a moment that every resource of its action has, each with the action.
const STEP: [&str; 34] = [
    "context.totals.cost_microusd > 50",
    "context.totals.tokens >= 9",
    "context.totals.tokens_input + context.totals.tokens_output < 12",
    "context.totals.denials == 0",
    "context.totals.duration_ms * 9223372036854775807 > 3",
    "context.estimate.tokens_output <= 100",
    "context.estimate.cost_microusd - context.totals.cost_microusd > 0",
    "context.estimate.duration_ms != 5",
    "context.step_index >= 3",
    "context.arguments_size > 10",
    "context.arguments_digest == \"ab\"",
    "context has intent",
    "context.intent == \"pay\"",
    "context has mode && context.mode == \"WRITE\"",
    "context has method && [\"GET\", \"HEAD\"].contains(context.method)",
    "context.arguments.flags.contains(\"force\")",
    "context.arguments.text.hasTag(\"to\")",
    "context.arguments.text.getTag(\"to\") like \"*@x\"",
    "context.arguments.number.hasTag(\"n\") && context.arguments.number.getTag(\"n\") > 3",
    "context.arguments.list.hasTag(\"l\") && context.arguments.list.getTag(\"l\").isEmpty()",
    "context.monitors.hasTag(\"m.x\")",
    "context.run.taints.containsAny([\"pii\", \"secret\"])",
    "context.run.labels.containsAll([\"eu\", \"prod\"])",
    "context.run.priority == 5",
    "context.run.source == \"SDK\"",
    "context.run.degraded",
    "context.run has human && context.run.human.level > 1",
    "context.run.human.labels.contains(\"on-call\")",
    "context.run has api_key",
    "context.now.hour >= 10 && context.now.minute < 1 && context.now.weekday == 6",
    "principal.risk == 1 || principal.labels.contains(\"us\")",
    "principal has owner && principal.owner == \"ann\"",
    "principal in Runspine::AgentGroup::\"writers\"",
    "if context.run.is_synthetic then context.run.attempt == 1 else principal.version like \"1*\"",
];
const TOOL: [&str; 5] = [
    "resource.risk > 1",
    "resource.side_effects",
    "resource.server == \"s\"",
    "resource.labels.contains(\"l\")",
    "resource in Runspine::ToolGroup::\"g1\"",
];
const ENDED: [&str; 12] = [
    "context.outcome == \"FAILURE\"",
    "context has error_code && context.error_code == \"E1\"",
    "context.error_code like \"E*\"",
    "context.retry_count > 0",
    "context.cost_microusd >= 100",
    "context.tokens > 9",
    "context.duration_ms < 1000",
    "context.output_size > 3",
    "context.output_labels.contains(\"pii\")",
    "context.authorized",
    "context.totals.failures == 0",
    "context.step_index == 1",
];
const START: [&str; 5] = [
    "context.requested.cost_microusd > 100",
    "context.requested.tokens_input == 0",
    "context.declared_tools.contains(\"shell\")",
    "context.goal_digest == \"ab\"",
    "resource.labels.contains(\"l\")",
];
const END: [&str; 4] = [
    "context.outcome == \"FAILED\"",
    "context.termination_reason like \"SYSTEM*\"",
    "context.totals.steps > 2",
    "resource.labels.contains(\"eu\")",
];

/// Clauses made of truths.
fn clauses(truths: Vec<&'static str>) -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(truths).prop_map(|t| format!("({t})"));
    let truth = leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} && {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.prop_map(|a| format!("(!{a})")),
        ]
    });
    let clause =
        (truth, any::<bool>()).prop_map(|(t, w)| format!("{} {{ {t} }}", if w { "when" } else { "unless" }));
    prop::collection::vec(clause, 1..4).prop_map(|c| c.join(" "))
}

fn chosen(bits: u16, bit: u16, text: &str) -> Vec<String> {
    if bits & (1 << bit) == 0 { Vec::new() } else { vec![text.to_owned(), "other".to_owned()] }
}

fn word(bits: u16, bit: u16, text: &str) -> String {
    chosen(bits, bit, text).into_iter().next().unwrap_or_default()
}

fn facts(question: Question, bits: u16) -> Case {
    let mut case = Case::of(question);
    case.run.taints = chosen(bits, 12, "pii");
    case.run.labels = chosen(bits, 13, "eu");
    case.run.degraded = bits & 1 != 0;
    case.run.is_synthetic = bits & 2 != 0;
    if bits & (1 << 14) != 0 {
        case.principal.human = None;
        case.principal.agent.owner.clear();
    }
    if bits & (1 << 15) != 0 {
        case.principal.api_key = None;
    }
    case
}

fn tool(bits: u16) -> Resource {
    let mut tool = Resource::unregistered(ResourceType::Tool, "t1");
    (tool.risk, tool.side_effects) = (u32::from(bits & 3), bits & 4 != 0);
    (tool.server, tool.labels, tool.groups) =
        (word(bits, 3, "s"), chosen(bits, 4, "l"), chosen(bits, 5, "g1"));
    tool
}

fn asked(n: i64, bits: u16) -> Question {
    let mut question = step(StepKind::ToolCall, tool(bits));
    (question.totals.cost_microusd, question.totals.tokens_input, question.totals.duration_ms) =
        (n * 10, n, n);
    (question.estimate.cost_microusd, question.estimate.tokens_output) = (100, n * 20);
    (question.step_index, question.arguments_size) = (n.unsigned_abs() as u32, n * 3);
    (question.intent, question.arguments_digest) = (word(bits, 6, "pay"), word(bits, 7, "ab"));
    (question.mode, question.method) = (word(bits, 8, "WRITE"), word(bits, 9, "GET"));
    let mut arguments = Arguments { flags: chosen(bits, 10, "force"), ..Arguments::default() };
    if bits & (1 << 11) != 0 {
        arguments.text.insert("to".to_owned(), if n > 3 { "a@x" } else { "b" }.to_owned());
        arguments.number.insert("n".to_owned(), n);
        arguments.list.insert("l".to_owned(), chosen(bits, 12, "v"));
    }
    question.arguments = arguments;
    Question::Step(question)
}

fn ended(n: i64, bits: u16) -> Question {
    Question::Ended(EndedQuestion {
        authorized: bits & 1 != 0,
        cost_microusd: n * 30,
        decision_id: String::new(),
        duration_ms: n * 300,
        error_code: word(bits, 6, "E1"),
        input_digest: String::new(),
        kind: StepKind::ToolCall,
        model: String::new(),
        obligations_applied: Vec::new(),
        occurred_at: 0,
        outcome: if bits & 2 == 0 { StepOutcome::Success } else { StepOutcome::Failure },
        output_labels: chosen(bits, 7, "pii"),
        output_size: n,
        resource: tool(bits),
        retry_count: u32::from(bits & 8 != 0),
        seq: 1,
        step_index: 1,
        tokens_input: n,
        tokens_output: n,
        totals: runspine_policies_domain::facts::Totals { failures: n % 2, ..Default::default() },
    })
}

fn moments() -> impl Strategy<Value = (String, Case)> {
    let bits = (0_i64..8, any::<u16>());
    let head = |action: &str| {
        let action = action.to_owned();
        move |(clauses, case): (String, Case)| {
            (
                format!("forbid(principal, action == Runspine::Action::\"{action}\", resource) {clauses};"),
                case,
            )
        }
    };
    let step = (clauses([&STEP[..], &TOOL[..]].concat()), bits.clone())
        .prop_map(|(c, (n, bits))| (c, facts(asked(n, bits), bits)))
        .prop_map(head("tool_call"));
    let ended = (clauses(ENDED.to_vec()), bits.clone())
        .prop_map(|(c, (n, bits))| (c, facts(ended(n, bits), bits)))
        .prop_map(head("step_ended"));
    let start = (clauses(START.to_vec()), bits.clone())
        .prop_map(|(c, (n, bits))| {
            let requested =
                runspine_policies_domain::facts::Estimate { cost_microusd: n * 30, ..Default::default() };
            let (declared_tools, goal_digest) = (chosen(bits, 1, "shell"), word(bits, 2, "ab"));
            (
                c,
                facts(
                    Question::Start(StartQuestion { ask: 0, declared_tools, goal_digest, requested }),
                    bits,
                ),
            )
        })
        .prop_map(head("start_run"));
    let end = (clauses(END.to_vec()), bits)
        .prop_map(|(c, (n, bits))| {
            let totals = runspine_policies_domain::facts::Totals { steps: n, ..Default::default() };
            let outcome = if bits & 1 == 0 { "FAILED" } else { "SUCCEEDED" }.to_owned();
            let termination_reason = word(bits, 2, "SYSTEM_FAILURE");
            (c, facts(Question::End(EndQuestion { outcome, termination_reason, totals }), bits))
        })
        .prop_map(head("end_run"));
    prop_oneof![4 => step, 2 => ended, 1 => start, 1 => end]
}

/// What Cedar says of a policy, and whether the guard rules it out.
fn both(policy: &str, case: &Case) -> Option<(Answer, bool)> {
    // Not every combination is valid: an attribute may be read where it is not known to be there.
    let text = crate::support::text("r", "", policy);
    let meaning = crate::support::meaning("r", &text);
    let checked = meaning.check();
    checked.parsed.as_ref()?;
    let snapshot = snapshot(vec![rule("r", "", policy)], false);
    let resource = resource_of(&case.question, &case.run, &case.principal);
    let slice = snapshot.slice(case.question.action(), &case.principal, &resource).unwrap();
    let (inputs, condition) = (case.inputs(), &slice.rules[0].condition);
    let asked = Asked::new(&slice, &inputs, Needs::ALL).unwrap();
    let ruled_out = condition.is_ruled_out(Facts { inputs: &inputs, resource: &resource });
    Some((asked.ask(condition), ruled_out))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1_000), ..ProptestConfig::default() })]

    /// A6.2, A6.5: what is ruled out neither matches nor fails.
    #[test]
    fn a_guard_only_says_no_where_cedar_does((policy, case) in moments()) {
        if let Some((answer, true)) = both(&policy, &case) {
            prop_assert_eq!(answer, Answer::No, "{}", policy);
        }
    }
}

/// A guard that let everything through would be true and worth nothing.
#[test]
fn a_guard_knows_the_schema() {
    let mut told = 0;
    let truths = STEP.iter().chain(&TOOL).filter(|t| !t.contains(" in Runspine"));
    for (n, bits) in [(0, 0), (5, u16::MAX), (3, 0b1010_1010_1010_1010)] {
        let case = facts(asked(n, bits), bits);
        for truth in truths.clone() {
            for clause in ["when", "unless"] {
                let head = "forbid(principal, action == Runspine::Action::\"tool_call\", resource)";
                let policy = format!("{head} {clause} {{ {truth} }};");
                if let Some((Answer::No, ruled_out)) = both(&policy, &case) {
                    assert!(ruled_out, "{policy}");
                    told += 1;
                }
            }
        }
    }
    assert!(told > 80, "{told} were compared");
}
