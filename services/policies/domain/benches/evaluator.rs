//! The evaluator by itself, in process: one question against rule sets of growing size, beside plain Cedar that is given
//! the whole set. What is timed is all that a decision takes but its commit: the slice, the evaluation, the ruling.
//! Figures of different runs can't be compared, because the machine is not the same from hour to hour; the shares can.
//!
//! `cargo bench -p runspine-policies-domain`

use std::{borrow::Cow, collections::BTreeMap, hint::black_box, num::NonZeroUsize, sync::Arc, time::Instant};

use cedar_policy::{Authorizer, PolicyId, PolicySet, Request};
use runspine_policies_domain::{
    compile::{CompiledRule, CompiledSnapshot},
    decide::decide,
    entities::{self, Needs},
    evaluate::evaluate,
    facts::{
        Agent, Arguments, Estimate, Inputs, Named, Principal, Question, Resource, Run, StepQuestion, Totals,
    },
    rule::{Meaning, rule_digest},
    settings::Settings,
    slice::{Bound, SliceCache, resource_of},
    words::{Action, Category, Directive, Mode, Moment, Profile, ResourceType, Scope, StepKind},
};
use runspine_types::Digest;

/// A set of rules that is measured.
struct Set {
    rules: usize,
    /// How many are about the step that is asked about.
    relevant: usize,
    /// How many of those match: Cedar has the last word on them.
    matching: usize,
    /// The median that is aimed at, microseconds.
    aim: f64,
}

const SETS: [Set; 6] = [
    Set { rules: 1, relevant: 1, matching: 0, aim: 5.0 },
    Set { rules: 10, relevant: 10, matching: 0, aim: 5.0 },
    Set { rules: 100, relevant: 10, matching: 0, aim: 8.0 },
    Set { rules: 1_000, relevant: 10, matching: 0, aim: 10.0 },
    Set { rules: 100, relevant: 100, matching: 0, aim: 150.0 },
    Set { rules: 100, relevant: 10, matching: 1, aim: 25.0 },
];
/// Decisions before the first that is timed.
const WARM: usize = 2_000;
/// Decisions that are timed, in turns of the two.
const ROUNDS: usize = 20_000;
/// Turns.
const TURNS: usize = 5;
/// 2026-11-21T10:00:00Z.
const NOW: i64 = 1_795_255_200_000_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[allow(clippy::print_stdout, reason = "its figures are its result")]
fn main() -> Outcome<()> {
    if cfg!(debug_assertions) {
        println!("NOT optimised: no figure is worth anything");
    }
    println!(
        "{:>6} {:>8} {:>8} {:>9} {:>9} {:>6} {:>10} {:>7}",
        "rules", "relevant", "matching", "p50 µs", "p99 µs", "aim", "cedar p50", "share"
    );
    for set in SETS {
        let (mut ours, mut cedar) = (Vec::new(), Vec::new());
        let (mut decider, mut plain) = (Decider::new(&set)?, Plain::new(&set)?);
        for _ in 0..TURNS {
            time(&mut ours, ROUNDS, |n| decider.ask(n))?;
            time(&mut cedar, ROUNDS / 20, |n| plain.ask(n))?;
        }
        let (p50, p99, theirs) = (at(&mut ours, 0.5), at(&mut ours, 0.99), at(&mut cedar, 0.5));
        println!(
            "{:>6} {:>8} {:>8} {p50:>9.2} {p99:>9.2} {:>6.0} {theirs:>10.2} {:>6.1}%",
            set.rules,
            set.relevant,
            set.matching,
            set.aim,
            100.0 * p50 / theirs
        );
    }
    Ok(())
}

/// Nanoseconds of `rounds` questions, each about another step: nothing of an answer can be kept.
fn time(into: &mut Vec<u64>, rounds: usize, mut ask: impl FnMut(u32) -> Outcome<u64>) -> Outcome<()> {
    for round in 0..WARM.min(rounds) + rounds {
        let took = ask(u32::try_from(round)?)?;
        if round >= WARM.min(rounds) {
            into.push(took);
        }
    }
    Ok(())
}

/// A quantile in microseconds.
fn at(times: &mut [u64], share: f64) -> f64 {
    times.sort_unstable();
    let place = (times.len().saturating_sub(1)) as f64 * share;
    times.get(place as usize).map_or(0.0, |ns| *ns as f64 / 1_000.0)
}

fn elapsed(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What is measured.
struct Decider {
    snapshot: CompiledSnapshot,
    bound: Bound,
    cache: SliceCache,
}

impl Decider {
    fn new(set: &Set) -> Outcome<Self> {
        let snapshot = CompiledSnapshot::new(Digest([1; 32]), Settings::of(Profile::Standard), rules(set)?)?;
        let cache = SliceCache::new(NonZeroUsize::MIN.saturating_add(63));
        Ok(Self { snapshot, bound: Bound::new(principal()), cache })
    }

    fn ask(&mut self, step_index: u32) -> Outcome<u64> {
        let inputs = inputs(&self.bound.principal, step_index);
        let begun = Instant::now();
        let resource = resource_of(&inputs.question, &inputs.run, &self.bound.principal);
        let (slice, _) = self.cache.get(&self.snapshot, inputs.question.action(), &self.bound, resource)?;
        let ruling = decide(&evaluate(&slice, &inputs)?, &inputs, Moment::StepStart);
        let took = elapsed(begun);
        black_box(ruling);
        Ok(took)
    }
}

/// What it is measured against: every rule in one policy set, the entities made once, the context made of what the
/// rules read.
struct Plain {
    policies: PolicySet,
    needs: Needs,
    principal: Principal,
    entities: cedar_policy::Entities,
}

impl Plain {
    fn new(set: &Set) -> Outcome<Self> {
        let (mut policies, mut needs) = (PolicySet::new(), Needs::NONE);
        for (n, rule) in rules(set)?.iter().enumerate() {
            needs = needs.and(rule.condition.needs);
            policies.add(rule.policy.new_id(PolicyId::new(n.to_string())))?;
        }
        let principal = principal();
        let search = Resource::unregistered(ResourceType::Tool, "search");
        let entities = entities::prepared(Action::ToolCall, &principal, &search)?;
        Ok(Self { policies, needs, principal, entities })
    }

    fn ask(&mut self, step_index: u32) -> Outcome<u64> {
        let inputs = inputs(&self.principal, step_index);
        let begun = Instant::now();
        let context = entities::context(&inputs, self.needs)?;
        let (agent, tool) = (entities::uid("Agent", "agent")?, entities::uid("Tool", "search")?);
        let request = Request::new(agent, entities::action_uid(Action::ToolCall)?, tool, context, None)?;
        black_box(Authorizer::new().is_authorized(&request, &self.policies, &self.entities));
        Ok(elapsed(begun))
    }
}

fn rules(set: &Set) -> Result<Vec<Arc<CompiledRule>>, String> {
    (0..set.rules).map(|n| rule(n, n < set.relevant, n < set.matching)).collect()
}

/// A restriction with a condition; about the tool that is asked for, or about one of a thousand others.
fn rule(n: usize, relevant: bool, matches: bool) -> Result<Arc<CompiledRule>, String> {
    let tool = if relevant { "search".to_owned() } else { format!("other-{n}") };
    let slug = format!("r{n}");
    let never = [
        format!("context.totals.steps > {}", 1_000_000 + n),
        format!("context.estimate.cost_microusd > {}", 1_000_000 + n),
        "context.run.taints.contains(\"pii\")".to_owned(),
        "resource.risk > 2 && context.run.priority > 8".to_owned(),
    ];
    let condition = if matches { "context.totals.steps >= 0" } else { &never[n % never.len()] };
    let cedar = format!(
        "@id(\"{slug}\") @reason(\"MEASURED\")\nforbid(principal, action == Runspine::Action::\"tool_call\", \
         resource == Runspine::Tool::\"{tool}\") when {{ {condition} }};"
    );
    let meaning = Meaning {
        category: Category::Custom,
        cedar,
        effective_from: None,
        effective_until: None,
        format: 1,
        mode: Mode::Block,
        precedence: 900,
        rule_id: slug.clone(),
        scope: Scope::Tenant,
        scope_id: String::new(),
        sequence: None,
        slug,
        tenant_id: "tenant".to_owned(),
        version: 1,
    };
    let digest = rule_digest(&meaning.bytes());
    CompiledRule::new(meaning, digest).map(Arc::new)
}

fn principal() -> Principal {
    Principal {
        agent: Agent { id: "agent".to_owned(), version: "1".to_owned(), ..Agent::default() },
        project: Named { id: "project".to_owned(), labels: Vec::new() },
        tenant_id: "tenant".to_owned(),
        ..Principal::default()
    }
}

fn inputs(principal: &Principal, step_index: u32) -> Inputs<'_> {
    let step = StepQuestion {
        arguments: Arguments::default(),
        arguments_digest: String::new(),
        arguments_size: 0,
        ask: 0,
        estimate: Estimate { cost_microusd: 100, ..Estimate::default() },
        intent: String::new(),
        kind: StepKind::ToolCall,
        method: String::new(),
        mode: String::new(),
        name: "search".to_owned(),
        resource: Resource::unregistered(ResourceType::Tool, "search"),
        step_index,
        totals: Totals { steps: i64::from(step_index), ..Totals::default() },
    };
    let run = Run {
        actor_type: "AGENT".to_owned(),
        attempt: 1,
        priority: 5,
        run_id: "run".to_owned(),
        source: "SDK".to_owned(),
        ..Run::default()
    };
    Inputs {
        approval: None,
        bypass: None,
        deferrals: None,
        format: 1,
        monitors: BTreeMap::new(),
        now: NOW,
        observed_directive: Directive::Continue,
        principal: Cow::Borrowed(principal),
        profile: Profile::Standard,
        question: Question::Step(step),
        run,
        snapshot: String::new(),
        withdrawn: Vec::new(),
    }
}
