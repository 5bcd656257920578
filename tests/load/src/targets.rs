//! What is aimed at on two cores, the load generator included. Nothing fails for being slow.

use serde::Serialize;

use crate::{appends, holds, report::Report, stories};

/// One aim.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// Of what.
    pub what: String,
    /// What is aimed at.
    pub aim: String,
    /// What was measured.
    pub measured: String,
    /// Whether it was reached.
    pub met: bool,
}

fn target(what: &str, aim: String, measured: String, met: bool) -> Target {
    Target { what: what.to_owned(), aim, measured, met }
}

/// Judges a report; what was not measured has no line.
pub fn judge(report: &Report) -> Vec<Target> {
    [
        steps(report),
        lifecycles(report),
        alone(report),
        proofs(report),
        freeze(report),
        lag(report),
        process(report),
    ]
    .concat()
}

fn steps(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    let floor = report.points.iter().find(|p| p.what.contains("fdatasync"));
    if let (Some(floor), Some(one)) = (floor, report.point("AuthorizeStep", 1)) {
        let aim = floor.p50_us + 1_500.0;
        let text = format!("≤ fsync floor {:.2} ms + 1.5 ms", floor.p50_us / 1_000.0);
        let measured = format!("{:.2} ms", one.p50_us / 1_000.0);
        targets.push(target("AuthorizeStep p50, 1 caller", text, measured, one.p50_us <= aim));
    }
    for (what, aim) in [(holds::WHAT, 0.25), ("AuthorizeStep", 0.25), ("GovernRun frame", 0.5)] {
        if let Some(share) = report.point(what, 64).and_then(|p| p.of_echo) {
            let name = format!("{what}, 64 callers");
            let measured = format!("{share:.2} × echo");
            targets.push(target(&name, format!("≥ {aim} × echo"), measured, share >= aim));
        }
    }
    targets
}

/// A lifecycle is two calls: the hold is taken, and settled.
fn lifecycles(report: &Report) -> Vec<Target> {
    let Some(point) = report.point(holds::WHAT, 64) else { return Vec::new() };
    let (rate, p99) = (point.rate / 2.0, point.p99_us / 1_000.0);
    let name = |what: &str| format!("{}, 64 callers, {what}", holds::WHAT);
    vec![
        target(&name("lifecycles a second"), "≥ 4,000".to_owned(), format!("{rate:.0}"), rate >= 4_000.0),
        target(&name("p99"), "≤ 25 ms".to_owned(), format!("{p99:.1} ms"), p99 <= 25.0),
    ]
}

fn alone(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    let batched = report.points.iter().filter(|p| p.what == appends::BATCHED);
    if let Some(rate) = batched.map(|p| p.rate * appends::MOST as f64).reduce(f64::max) {
        let measured = format!("{:.0}k", rate / 1_000.0);
        targets.push(target("records a second, in batches", "≥ 30k".to_owned(), measured, rate >= 30_000.0));
    }
    if let Some(story) = report.point(stories::WHAT, 1) {
        let p99 = story.p99_us / 1_000.0;
        let name = "story of a run p99, 1 caller (aimed at with 1M runs)";
        targets.push(target(name, "≤ 5 ms".to_owned(), format!("{p99:.1} ms"), p99 <= 5.0));
    }
    targets
}

fn proofs(report: &Report) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut rated = |name: &str, rate: f64, aim: f64| {
        let text = format!("≥ {:.0}k", aim / 1_000.0);
        targets.push(target(name, text, format!("{:.0}k", rate / 1_000.0), rate >= aim));
    };
    if let Some(long) = &report.long_proof {
        let name = format!("proof of {} records, links a second of one core", long.links);
        rated(&name, long.links_a_core_second, 500_000.0);
    }
    if let Some(proof) = &report.proof {
        rated("proof, links a second", proof.links_a_second, 300_000.0);
    }
    if let Some(long) = &report.long_proof {
        // A proof reads page by page and keeps nothing of a step that has ended.
        let name = format!("proof of {} records, memory it takes", long.links);
        let grown = (long.after_mib - long.before_mib).max(0.0);
        targets.push(target(&name, "≤ 32 MiB".to_owned(), format!("{grown:.0} MiB"), grown <= 32.0));
    }
    targets
}

fn freeze(report: &Report) -> Vec<Target> {
    let Some(freeze) = &report.freeze else { return Vec::new() };
    let (p99, contained) = (freeze.notice_p99_ms, freeze.contained_ms);
    let notice = format!("freeze to notice p99, {} running agents", freeze.runs);
    let reached = format!("freeze contained, {} running agents", freeze.runs);
    vec![
        target(&notice, "≤ 100 ms".to_owned(), format!("{p99:.0} ms"), p99 <= 100.0),
        target(&reached, "≤ 5 s".to_owned(), format!("{contained} ms"), contained <= 5_000),
    ]
}

fn lag(report: &Report) -> Vec<Target> {
    let lags = report.lag.iter();
    let measured = |p99: f64| format!("{p99:.0} ms");
    lags.map(|l| {
        let aim = "≤ 1 s".to_owned();
        target("ledger behind the domains under load, p99", aim, measured(l.p99_ms), l.p99_ms <= 1_000.0)
    })
    .collect()
}

fn process(report: &Report) -> Vec<Target> {
    let (idle, empty) = (report.idle_mib, report.start_empty_ms);
    let (stored, runs) = (report.start_stored_ms, report.stored_runs);
    let name = format!("start, {runs} stored runs (aimed at with 100k)");
    vec![
        target("idle memory", "≤ 150 MiB".to_owned(), format!("{idle:.0} MiB"), idle <= 150.0),
        target("start, empty folder", "≤ 1 s".to_owned(), format!("{empty:.0} ms"), empty <= 1_000.0),
        target(&name, "≤ 2 s".to_owned(), format!("{stored:.0} ms"), stored <= 2_000.0),
    ]
}
