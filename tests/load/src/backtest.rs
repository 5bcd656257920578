//! A back-test of decisions that agents were answered: recorded through the API, decided again by two candidates.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use contracts_policies::v1::{
    ActivateRuleRequest, BacktestState, Candidate, CandidateChange, CreateRuleRequest, NotReplayable,
    RuleContent, RuleMode, SandboxReport, StartBacktestRequest, TemplateArgument, TemplateBody,
    WatchBacktestRequest, candidate_change::Change, rule_service_client::RuleServiceClient,
    sandbox_service_client::SandboxServiceClient,
};
use runspine_types::new_id;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    agent::Agent,
    args::Engine,
    measure::{Meter, Outcome},
    server::Mesh,
    storage::Storage,
    wire::{Client, Wire},
};

/// Agents that record at once: few, so that no decision is made without its decider.
const CALLERS: usize = 16;
/// Steps of a run; with its start that many decisions and one.
const STEPS: u32 = 99;
/// The first step of a run that the stricter candidate denies.
const DENIED_FROM: u32 = 90;
/// What is aimed at with 100,000 decisions, seconds.
const AIM_S: f64 = 10.0;
/// Why rules come into force here.
const WHY: &str = "recorded for a back-test";
/// The values of a template's parameters.
type Arguments = [(&'static str, &'static [&'static str])];
/// Rules in force while agents record: none of them matches, each has to be looked at.
const RULES: [(&str, &Arguments); 6] = [
    ("ACTION_BLOCK", &[("tools", &["shell", "delete_account"])]),
    ("SPEND_CEILING", &[("max_run", &["1000000000"]), ("max_step", &["1000000000"])]),
    ("PATTERN_BLOCK", &[("key", &["reservation_id"]), ("patterns", &["*drop table*", "*;*"])]),
    ("SLIDING_WINDOW", &[("max", &["1000000"])]),
    ("TAINT_BLOCK", &[]),
    ("HARD_STOP", &[("condition", &["context.totals.failures >= 20"])]),
];

/// A candidate, tried on everything that was recorded.
#[derive(Debug, Serialize)]
struct Tried {
    candidate: &'static str,
    /// From the call that starts it to the last message of its watch.
    seconds: f64,
    decisions_a_second: f64,
    examined: u64,
    replayed: u64,
    changed: u64,
    counterfactual: u64,
    not_replayable: BTreeMap<&'static str, u64>,
    self_checked: u64,
    /// What does not agree with what was recorded.
    wrong: Vec<String>,
}

/// What the back-tests of one run of the harness gave.
#[derive(Debug, Serialize)]
struct Report {
    decisions: u64,
    runs: u64,
    recorded_s: f64,
    /// Decisions that a decider had no part in; the rest of their run can't be replayed under rules that count steps.
    degraded: u64,
    tried: Vec<Tried>,
}

/// Records at least so many decisions and back-tests them. False: a report does not agree with what was recorded.
pub async fn run(binary: PathBuf, work: &Path, engine: Engine, decisions: u64) -> Outcome<bool> {
    let mesh = Mesh::new(binary, work, Storage::empty(engine).await).await?;
    let (server, _) = mesh.start(None).await?;
    let wire = Arc::new(Wire::connect(&server.address, &mesh.key, CALLERS).await?);
    install(&wire).await?;
    let (since, begun) = (SystemTime::now(), Instant::now());
    let runs = decisions.div_ceil(u64::from(STEPS) + 1).max(1);
    crate::tell(&format!("recording {runs} runs of {STEPS} steps"))?;
    let degraded = record(&wire, runs).await?;
    let recorded_s = begun.elapsed().as_secs_f64();
    let range = (since, SystemTime::now());
    let decisions = runs * (u64::from(STEPS) + 1);
    let mut report = Report { decisions, runs, recorded_s, degraded, tried: Vec::new() };
    let denied = runs * u64::from(STEPS - DENIED_FROM);
    for (name, candidate, changed) in
        [("what is in force", None, 0), ("one rule more", Some(stricter()), denied)]
    {
        crate::tell(&format!("back-test: {name}"))?;
        let mut tried = attempt(&wire, name, candidate, range).await?;
        tried.agree("examined", tried.examined, decisions);
        tried.agree("replayed or told why not", tried.replayed + tried.left_out(), decisions);
        if degraded == 0 {
            tried.agree("replayed", tried.replayed, decisions);
            tried.agree("changed", tried.changed, changed);
        }
        report.tried.push(tried);
    }
    server.stop().await?;
    fs::write(work.join("backtest.json"), serde_json::to_vec_pretty(&report)?)?;
    report.print(&mut std::io::stdout().lock())?;
    Ok(report.tried.iter().all(|t| t.wrong.is_empty()))
}

fn made(n: usize, template: &str, arguments: &[(&str, &[&str])]) -> RuleContent {
    let owned = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect();
    let argument = |(name, values): &(&str, &[&str])| TemplateArgument {
        name: (*name).to_owned(),
        values: owned(values),
    };
    RuleContent {
        slug: format!("load-{n}"),
        mode: RuleMode::Block.into(),
        template: Some(TemplateBody {
            template_id: template.to_owned(),
            arguments: arguments.iter().map(argument).collect(),
            ..TemplateBody::default()
        }),
        ..RuleContent::default()
    }
}

/// The last steps of each run are denied.
fn stricter() -> Candidate {
    let condition = format!("context.step_index >= {DENIED_FROM}");
    let rule = made(RULES.len(), "HARD_STOP", &[("condition", &[&condition])]);
    Candidate {
        changes: vec![CandidateChange { change: Some(Change::Create(rule)) }],
        ..Candidate::default()
    }
}

async fn install(wire: &Wire) -> Outcome<()> {
    let mut rules = RuleServiceClient::with_interceptor(wire.channel(0), wire.credential());
    for (n, (template, arguments)) in RULES.iter().enumerate() {
        let content = Some(made(n, template, arguments));
        let made = rules.create_rule(CreateRuleRequest { request_id: new_id(), content }).await?.into_inner();
        let rule = made.rule.unwrap_or_default();
        let activate = ActivateRuleRequest {
            request_id: new_id(),
            rule_id: rule.rule_id,
            version: rule.version,
            expected_version: rule.revision,
            reason: WHY.to_owned(),
        };
        rules.activate_rule(activate).await?;
    }
    Ok(())
}

/// How many decisions were degraded.
async fn record(wire: &Arc<Wire>, runs: u64) -> Outcome<u64> {
    let (left, mut work) = (Arc::new(AtomicU64::new(runs)), JoinSet::new());
    for caller in 0..CALLERS {
        work.spawn(one_after_the_other(wire.client(caller), Arc::clone(&left)));
    }
    let mut degraded = 0;
    while let Some(done) = work.join_next().await {
        degraded += done??;
    }
    Ok(degraded)
}

async fn one_after_the_other(client: Client, left: Arc<AtomicU64>) -> Outcome<u64> {
    let (mut meter, mut degraded) = (Meter::new()?, 0);
    let take = |n: u64| n.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        let mut agent = Agent::start(client.clone()).await?;
        for _ in 0..STEPS {
            agent.authorize(&mut meter).await?;
            agent.record(&mut meter).await?;
        }
        agent.complete().await?;
        degraded += agent.book.degraded;
    }
    Ok(degraded)
}

async fn attempt(
    wire: &Wire,
    name: &'static str,
    candidate: Option<Candidate>,
    (since, until): (SystemTime, SystemTime),
) -> Outcome<Tried> {
    let mut sandbox = SandboxServiceClient::with_interceptor(wire.channel(0), wire.credential());
    let start = StartBacktestRequest {
        request_id: new_id(),
        candidate,
        since: Some(since.into()),
        until: Some(until.into()),
        ..StartBacktestRequest::default()
    };
    let begun = Instant::now();
    let started = sandbox.start_backtest(start).await?.into_inner().backtest.unwrap_or_default();
    let watch = WatchBacktestRequest { backtest_id: started.backtest_id };
    let (mut told, mut last) = (sandbox.watch_backtest(watch).await?.into_inner(), None);
    while let Some(message) = told.message().await? {
        last = message.backtest;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let ended = last.ok_or("the watch ended before the back-test")?;
    let mut tried = Tried::of(name, seconds, &ended.report.clone().unwrap_or_default());
    tried.agree("state", ended.state(), BacktestState::Completed);
    Ok(tried)
}

impl Tried {
    fn of(candidate: &'static str, seconds: f64, report: &SandboxReport) -> Self {
        let changes = || report.matrix.iter().filter(|c| c.recorded != c.candidate);
        let left_out = report.not_replayable.iter();
        let mut tried = Self {
            candidate,
            seconds,
            decisions_a_second: report.examined as f64 / seconds.max(1e-9),
            examined: report.examined,
            replayed: report.replayed,
            changed: changes().map(|c| c.count).sum(),
            counterfactual: changes().map(|c| c.counterfactual).sum(),
            not_replayable: left_out.map(|n| (why(n.reason()), n.count)).collect(),
            self_checked: report.self_checked,
            wrong: Vec::new(),
        };
        tried.agree("self-check", report.self_check_ok, true);
        tried
    }

    fn left_out(&self) -> u64 {
        self.not_replayable.values().sum()
    }

    fn agree<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, expected: T) {
        if found != expected {
            self.wrong.push(format!("{what}: {found:?}, not {expected:?}"));
        }
    }
}

fn why(reason: NotReplayable) -> &'static str {
    reason.as_str_name().trim_start_matches("NOT_REPLAYABLE_")
}

impl Report {
    fn print(&self, out: &mut impl Write) -> Outcome<()> {
        let rate = self.decisions as f64 / self.recorded_s.max(1e-9);
        writeln!(
            out,
            "{} decisions of {} runs, recorded in {:.1} s ({rate:.0} a second), {} of them degraded",
            self.decisions, self.runs, self.recorded_s, self.degraded
        )?;
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        let head =
            ["candidate", "seconds", "decisions/s", "replayed", "changed", "counterfactual", "self-checked"];
        table.set_header(head);
        for tried in &self.tried {
            table.add_row([
                tried.candidate.to_owned(),
                format!("{:.2}", tried.seconds),
                format!("{:.0}", tried.decisions_a_second),
                tried.replayed.to_string(),
                tried.changed.to_string(),
                tried.counterfactual.to_string(),
                tried.self_checked.to_string(),
            ]);
        }
        table.column_iter_mut().skip(1).for_each(|c| c.set_cell_alignment(CellAlignment::Right));
        writeln!(out, "{table}")?;
        for tried in &self.tried {
            for (reason, count) in &tried.not_replayable {
                writeln!(out, "{}: {count} not replayable, {reason}", tried.candidate)?;
            }
            for wrong in &tried.wrong {
                writeln!(out, "{}: {wrong}", tried.candidate)?;
            }
            let aim = AIM_S * self.decisions as f64 / 100_000.0;
            let met = if tried.seconds <= aim { "met" } else { "missed" };
            writeln!(
                out,
                "{}: aimed at ≤ {aim:.1} s for {} decisions: {met}",
                tried.candidate, self.decisions
            )?;
        }
        Ok(())
    }
}
