//! Rules and questions that meet often enough to be worth comparing.

use std::sync::Arc;

use proptest::prelude::*;
use runspine_policies_domain::{
    compile::CompiledRule,
    facts::{Arguments, Question, Resource},
    rule::Meaning,
    words::{Mode, ResourceType, Scope, StepKind},
};

use crate::support::{Case, compiled, meaning, step, text};

const PRINCIPALS: [&str; 8] = [
    "principal",
    "principal == Runspine::Agent::\"agent-1\"",
    "principal == Runspine::Agent::\"agent-2\"",
    "principal in Runspine::AgentGroup::\"writers\"",
    "principal in Runspine::AgentGroup::\"readers\"",
    "principal is Runspine::Agent in Runspine::Project::\"project-1\"",
    "principal in Runspine::Tenant::\"tenant-1\"",
    "principal is Runspine::Agent",
];

/// Action and resource of a head, with conditions that fit its types.
const HEADS: [(&str, &str, bool); 10] = [
    ("action", "resource", false),
    ("action in Runspine::Action::\"step\"", "resource", true),
    ("action == Runspine::Action::\"tool_call\"", "resource", true),
    ("action == Runspine::Action::\"tool_call\"", "resource == Runspine::Tool::\"t1\"", true),
    (
        "action in [Runspine::Action::\"tool_call\", Runspine::Action::\"execute_code\"]",
        "resource is Runspine::Tool",
        true,
    ),
    ("action in Runspine::Action::\"step\"", "resource in Runspine::ToolGroup::\"g1\"", true),
    (
        "action in Runspine::Action::\"step\"",
        "resource is Runspine::Tool in Runspine::ToolGroup::\"g2\"",
        true,
    ),
    ("action == Runspine::Action::\"llm_call\"", "resource in Runspine::ModelFamily::\"f1\"", true),
    ("action == Runspine::Action::\"spawn_agent\"", "resource == Runspine::Agent::\"agent-1\"", true),
    ("action == Runspine::Action::\"start_run\"", "resource == Runspine::Project::\"project-1\"", false),
];

const CONDITIONS: [&str; 9] = [
    "",
    "when { context.totals.steps >= 3 }",
    "when { context.estimate.cost_microusd > 100 } unless { context.run.priority == 9 }",
    "when { context.run.taints.contains(\"pii\") }",
    "when { context.arguments.text.hasTag(\"to\") && context.arguments.text.getTag(\"to\") like \"*@x\" }",
    "when { context has intent && context.intent == \"pay\" }",
    "when { context.run has human && context.run.human.level > 1 }",
    // Overflows when the argument is large: a rule that fails.
    "when { context.arguments.number.hasTag(\"n\") && context.arguments.number.getTag(\"n\") * 9223372036854775807 > 0 }",
    "when { context.now.weekday == 6 && principal in Runspine::AgentGroup::\"writers\" }",
];

const EFFECTS: [&str; 8] = [
    "",
    "@run(\"terminate\")",
    "@outcome(\"warn\")",
    "@outcome(\"defer\") @obligations(\"retry_after(500); needs(a)\")",
    "@outcome(\"modify\") @obligations(\"cap_tokens(100); redact(a)\")",
    "@outcome(\"modify\") @obligations(\"cap_tokens(50); drop(a); taint(x)\")",
    "@outcome(\"modify\") @obligations(\"use_model(m1)\")",
    "@outcome(\"modify\") @obligations(\"use_model(m2)\") @run(\"pause\")",
];

fn scopes() -> impl Strategy<Value = (Scope, &'static str)> {
    prop::sample::select(vec![
        (Scope::Tenant, ""),
        (Scope::Project, "project-1"),
        (Scope::Project, "project-2"),
        (Scope::Agent, "writers"),
        (Scope::Agent, "agent-2"),
        (Scope::ApiKey, "key-1"),
        (Scope::HumanActor, "core"),
        (Scope::HumanActor, "bob"),
    ])
}

/// A rule, unnamed.
#[derive(Debug, Clone)]
pub struct Draft {
    grant: bool,
    principal: &'static str,
    head: usize,
    condition: usize,
    effect: usize,
    scope: (Scope, &'static str),
    mode: Mode,
    precedence: u32,
}

impl Draft {
    pub fn is_grant(&self) -> bool {
        self.grant
    }

    /// As rule number `n`.
    pub fn named(&self, n: usize) -> Arc<CompiledRule> {
        let slug = format!("r{n}");
        let (action, resource, step) = HEADS[self.head];
        let condition = if step { CONDITIONS[self.condition] } else { "" };
        let (effect, annotations) =
            if self.grant { ("permit", "") } else { ("forbid", EFFECTS[self.effect]) };
        let policy = format!("{effect}({}, {action}, {resource}) {condition};", self.principal);
        let mode = if self.grant && self.mode == Mode::Warn { Mode::Block } else { self.mode };
        compiled(Meaning {
            mode,
            precedence: self.precedence,
            scope: self.scope.0,
            scope_id: self.scope.1.to_owned(),
            ..meaning(&slug, &text(&slug, annotations, &policy))
        })
    }
}

pub fn draft() -> impl Strategy<Value = Draft> {
    let modes = prop::sample::select(vec![Mode::Block, Mode::Block, Mode::Warn, Mode::Audit]);
    (
        prop::bool::weighted(0.3),
        prop::sample::select(PRINCIPALS.to_vec()),
        0..HEADS.len(),
        0..CONDITIONS.len(),
        0..EFFECTS.len(),
        scopes(),
        modes,
        prop::sample::select(vec![100_u32, 500, 900]),
    )
        .prop_map(|(grant, principal, head, condition, effect, scope, mode, precedence)| Draft {
            grant,
            principal,
            head,
            condition,
            effect,
            scope,
            mode,
            precedence,
        })
}

pub fn rules(drafts: &[Draft]) -> Vec<Arc<CompiledRule>> {
    drafts.iter().enumerate().map(|(n, d)| d.named(n)).collect()
}

fn resource(kind: StepKind) -> impl Strategy<Value = Resource> {
    let kinds = kind.resources().to_vec();
    let ids = prop::sample::select(vec!["t1", "t2", "agent-1", "agent-2", "m1"]);
    let groups = prop::sample::subsequence(vec!["g1", "g2", "f1", "writers"], 0..3);
    (prop::sample::select(kinds), ids, groups).prop_map(|(kind, id, groups)| {
        let mut r = Resource::unregistered(kind, id);
        if !matches!(kind, ResourceType::Endpoint) {
            r.groups = groups.into_iter().map(str::to_owned).collect();
        }
        r
    })
}

pub fn case() -> impl Strategy<Value = Case> {
    let kinds = vec![
        StepKind::ToolCall,
        StepKind::ToolCall,
        StepKind::LlmCall,
        StepKind::ExecuteCode,
        StepKind::SpawnAgent,
        StepKind::SendMessage,
    ];
    let kind = prop::sample::select(kinds);
    (kind, 0_i64..6, 0_i64..200, 0_u8..32, any::<bool>()).prop_flat_map(|(kind, steps, cost, bits, human)| {
        resource(kind).prop_map(move |resource| {
            let mut question = step(kind, resource);
            question.totals.steps = steps;
            question.estimate.cost_microusd = cost;
            if bits & 1 != 0 {
                question.intent = "pay".to_owned();
            }
            let mut arguments = Arguments::default();
            if bits & 2 != 0 {
                arguments.text.insert("to".to_owned(), "a@x".to_owned());
            }
            if bits & 4 != 0 {
                arguments.number.insert("n".to_owned(), if bits & 8 != 0 { 7 } else { 1 });
            }
            question.arguments = arguments;
            let mut case = Case::of(Question::Step(question));
            if bits & 16 != 0 {
                case.run.taints.push("pii".to_owned());
            }
            if !human {
                case.principal.human = None;
            }
            case
        })
    })
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.profile, self.run, self.question)
    }
}
