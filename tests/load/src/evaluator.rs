//! The policy evaluator by itself, in process: one question against rule sets of growing size. What is timed is all that
//! a decision takes but its commit: the slice, the evaluation, the ruling.

use std::{
    borrow::Cow, collections::BTreeMap, fs, hint::black_box, io::Write, num::NonZeroUsize, path::Path,
    sync::Arc, time::Instant,
};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use runspine_policies_domain::{
    compile::{CompiledRule, CompiledSnapshot},
    decide::decide,
    evaluate::evaluate,
    facts::{
        Agent, Arguments, Estimate, Inputs, Named, Principal, Question, Resource, Run, StepQuestion, Totals,
    },
    rule::{Meaning, rule_digest},
    settings::Settings,
    slice::{Bound, SliceCache, resource_of},
    words::{Category, Directive, Mode, Moment, Profile, ResourceType, Scope, StepKind},
};
use runspine_types::Digest;
use serde::Serialize;

use crate::measure::{Meter, Outcome};

/// Rules of the set, how many of them are about the step, and the median that is aimed at in microseconds.
const SIZES: [(usize, usize, f64); 4] = [(1, 1, 5.0), (10, 10, 5.0), (100, 10, 8.0), (1_000, 10, 10.0)];
/// Decisions before the first that is timed.
const WARM: usize = 2_000;
/// Decisions that are timed.
const ROUNDS: usize = 50_000;
/// 2026-11-21T10:00:00Z.
const NOW: i64 = 1_795_255_200_000_000;

/// What one size took.
#[derive(Debug, Serialize)]
struct Row {
    rules: usize,
    relevant: usize,
    p50_us: f64,
    p99_us: f64,
    aim_us: f64,
    met: bool,
}

/// Measures every size, prints the table and writes `evaluator.json`.
pub fn run(work: &Path) -> Outcome<()> {
    let mut rows = Vec::with_capacity(SIZES.len());
    for (rules, relevant, aim_us) in SIZES {
        let meter = measure(rules, relevant)?;
        let (p50_us, p99_us) = (meter.micros(0.5), meter.micros(0.99));
        rows.push(Row { rules, relevant, p50_us, p99_us, aim_us, met: p50_us <= aim_us });
    }
    fs::create_dir_all(work)?;
    fs::write(work.join("evaluator.json"), serde_json::to_vec_pretty(&rows)?)?;
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(["rules", "relevant", "p50 µs", "p99 µs", "aim µs", "met"]);
    for r in &rows {
        let met = if r.met { "yes" } else { "NO" };
        let figures = [r.rules as f64, r.relevant as f64, r.p50_us, r.p99_us, r.aim_us];
        let mut cells: Vec<String> = figures.iter().map(|f| format!("{f:.1}")).collect();
        (cells[0], cells[1]) = (r.rules.to_string(), r.relevant.to_string());
        cells.push(met.to_owned());
        table.add_row(cells);
    }
    let build = if cfg!(debug_assertions) { "NOT optimised: no figure is worth anything\n" } else { "" };
    writeln!(std::io::stdout().lock(), "{build}{table}")?;
    Ok(())
}

fn measure(rules: usize, relevant: usize) -> Outcome<Meter> {
    let compiled: Result<Vec<_>, String> = (0..rules).map(|n| rule(n, n < relevant)).collect();
    let snapshot = CompiledSnapshot::new(Digest([1; 32]), Settings::of(Profile::Standard), compiled?)?;
    let (bound, cache) = (Bound::new(principal()), SliceCache::new(NonZeroUsize::MIN.saturating_add(63)));
    let mut meter = Meter::new()?;
    for round in 0..WARM + ROUNDS {
        // Another step each time: nothing of the answer can be kept.
        let inputs = inputs(&bound.principal, u32::try_from(round)?);
        let begun = Instant::now();
        let resource = resource_of(&inputs.question, &inputs.run, &bound.principal);
        let (slice, _) = cache.get(&snapshot, inputs.question.action(), &bound, resource)?;
        let ruling = decide(&evaluate(&slice, &inputs)?, &inputs, Moment::StepStart);
        let took = begun.elapsed();
        black_box(ruling);
        if round >= WARM {
            meter.record(took);
        }
    }
    Ok(meter)
}

/// A restriction with a condition; about the tool that is asked for, or about one of a thousand others.
fn rule(n: usize, relevant: bool) -> Result<Arc<CompiledRule>, String> {
    let tool = if relevant { "search".to_owned() } else { format!("other-{n}") };
    let slug = format!("r{n}");
    let conditions = [
        format!("context.totals.steps > {}", 1_000_000 + n),
        format!("context.estimate.cost_microusd > {}", 1_000_000 + n),
        "context.run.taints.contains(\"pii\")".to_owned(),
        "resource.risk > 2 && context.run.priority > 8".to_owned(),
    ];
    let cedar = format!(
        "@id(\"{slug}\") @reason(\"MEASURED\")\nforbid(principal, action == Runspine::Action::\"tool_call\", \
         resource == Runspine::Tool::\"{tool}\") when {{ {} }};",
        conditions[n % conditions.len()]
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
