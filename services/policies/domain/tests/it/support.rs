//! Rules, snapshots and questions for tests.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use runspine_policies_domain::{
    compile::{CompiledRule, CompiledSnapshot},
    decide::{Ruling, decide},
    evaluate::evaluate,
    facts::{
        Agent, Arguments, Bypass, EndedQuestion, Estimate, Human, Inputs, Named, Principal, Question,
        Resource, Run, StepQuestion, Totals,
    },
    rule::{Meaning, rule_digest},
    settings::Settings,
    slice::resource_of,
    words::{Category, Directive, Mode, Moment, Profile, ResourceType, Scope, StepKind, StepOutcome},
};
use runspine_types::Digest;

/// 2026-11-21T10:00:00Z, a Saturday.
pub const NOW: i64 = 1_795_255_200_000_000;

/// A rule of the tenant in mode BLOCK.
pub fn meaning(slug: &str, cedar: &str) -> Meaning {
    Meaning {
        category: Category::Custom,
        cedar: cedar.to_owned(),
        effective_from: None,
        effective_until: None,
        format: 1,
        mode: Mode::Block,
        precedence: 900,
        rule_id: slug.to_owned(),
        scope: Scope::Tenant,
        scope_id: String::new(),
        sequence: None,
        slug: slug.to_owned(),
        tenant_id: "tenant-1".to_owned(),
        version: 1,
    }
}

/// A text with the required annotations in front of `policy`.
pub fn text(slug: &str, annotations: &str, policy: &str) -> String {
    format!("@id(\"{slug}\") @reason(\"TEST_RULE\") {annotations}\n{policy}")
}

pub fn compiled(meaning: Meaning) -> Arc<CompiledRule> {
    let digest = rule_digest(&meaning.bytes());
    Arc::new(CompiledRule::new(meaning.clone(), digest).unwrap_or_else(|e| panic!("{}: {e}", meaning.cedar)))
}

pub fn rule(slug: &str, annotations: &str, policy: &str) -> Arc<CompiledRule> {
    compiled(meaning(slug, &text(slug, annotations, policy)))
}

pub fn with_mode(rule: &Arc<CompiledRule>, mode: Mode) -> Arc<CompiledRule> {
    compiled(Meaning { mode, ..rule.meaning.clone() })
}

/// A snapshot of rules, with or without the baseline grant.
pub fn snapshot(rules: Vec<Arc<CompiledRule>>, baseline: bool) -> CompiledSnapshot {
    let mut settings = Settings::of(Profile::Standard);
    settings.baseline_grant = baseline;
    CompiledSnapshot::new(Digest([1; 32]), settings, rules).unwrap()
}

pub fn principal() -> Principal {
    Principal {
        agent: Agent {
            groups: vec!["writers".into()],
            id: "agent-1".into(),
            labels: vec!["eu".into()],
            owner: "ann".into(),
            risk: 1,
            version: "1".into(),
        },
        api_key: Some(Named { id: "key-1".into(), labels: vec![] }),
        human: Some(Human { id: "ann".into(), labels: vec![], level: 2, teams: vec!["core".into()] }),
        project: Named { id: "project-1".into(), labels: vec![] },
        tenant_id: "tenant-1".into(),
    }
}

pub fn run() -> Run {
    Run {
        actor_type: "AGENT".into(),
        attempt: 1,
        priority: 5,
        run_id: "run-1".into(),
        source: "SDK".into(),
        ..Run::default()
    }
}

pub fn tool(id: &str) -> Resource {
    Resource::unregistered(ResourceType::Tool, id)
}

pub fn step(kind: StepKind, resource: Resource) -> StepQuestion {
    StepQuestion {
        arguments: Arguments::default(),
        arguments_digest: String::new(),
        arguments_size: 0,
        ask: 0,
        estimate: Estimate::default(),
        intent: String::new(),
        kind,
        method: String::new(),
        mode: String::new(),
        name: "step".into(),
        resource,
        step_index: 0,
        totals: Totals::default(),
    }
}

pub fn tool_call(id: &str) -> Question {
    Question::Step(step(StepKind::ToolCall, tool(id)))
}

/// A tool call that failed and was not authorized.
pub fn ended() -> EndedQuestion {
    EndedQuestion {
        authorized: false,
        cost_microusd: 5,
        decision_id: String::new(),
        duration_ms: 9,
        error_code: "BOOM".into(),
        input_digest: String::new(),
        kind: StepKind::ToolCall,
        model: String::new(),
        obligations_applied: vec![],
        occurred_at: 0,
        outcome: StepOutcome::Failure,
        output_labels: vec!["toxic".into()],
        output_size: 1,
        resource: tool("t1"),
        retry_count: 1,
        seq: 1,
        step_index: 0,
        tokens_input: 3,
        tokens_output: 4,
        totals: Totals::default(),
    }
}

pub struct Case {
    pub principal: Principal,
    pub run: Run,
    pub question: Question,
    pub profile: Profile,
    pub bypass: Option<Bypass>,
    pub monitors: BTreeMap<String, i64>,
    pub deferrals: Option<u32>,
}

impl Case {
    pub fn of(question: Question) -> Self {
        let (profile, monitors) = (Profile::Standard, BTreeMap::new());
        Self {
            principal: principal(),
            run: run(),
            question,
            profile,
            bypass: None,
            monitors,
            deferrals: None,
        }
    }

    pub fn under(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    pub fn inputs(&self) -> Inputs<'_> {
        Inputs {
            approval: None,
            bypass: self.bypass.clone(),
            deferrals: self.deferrals,
            format: 1,
            monitors: self.monitors.clone(),
            now: NOW,
            observed_directive: Directive::Continue,
            principal: Cow::Borrowed(&self.principal),
            profile: self.profile,
            question: self.question.clone(),
            run: self.run.clone(),
            snapshot: String::new(),
            withdrawn: Vec::new(),
        }
    }

    pub fn moment(&self) -> Moment {
        match self.question {
            Question::Start(_) => Moment::RunStart,
            Question::Step(_) => Moment::StepStart,
            Question::Ended(_) => Moment::StepEnd,
            Question::End(_) => Moment::RunEnd,
        }
    }

    /// Decided on the slice.
    pub fn decide(&self, snapshot: &CompiledSnapshot) -> Ruling {
        let resource = resource_of(&self.question, &self.run, &self.principal);
        let slice = snapshot.slice(self.question.action(), &self.principal, &resource).unwrap();
        let mut ruling = decide(&evaluate(&slice, &self.inputs()).unwrap(), &self.inputs(), self.moment());
        ruling.candidates = 0;
        ruling.checked.clear();
        ruling
    }

    /// Decided on every rule that is in scope, each evaluated whole by Cedar.
    pub fn decide_unsliced(&self, snapshot: &CompiledSnapshot) -> Ruling {
        let resource = resource_of(&self.question, &self.run, &self.principal);
        let all: Vec<usize> =
            (0..snapshot.rules.len()).filter(|i| snapshot.rules[*i].in_scope(&self.principal)).collect();
        let action = self.question.action();
        let slice = snapshot.slice_of(&all, action, &self.principal, &resource, false).unwrap();
        let mut ruling = decide(&evaluate(&slice, &self.inputs()).unwrap(), &self.inputs(), self.moment());
        ruling.candidates = 0;
        ruling.checked.clear();
        ruling
    }
}
