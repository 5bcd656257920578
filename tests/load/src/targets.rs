//! What is aimed at on two cores, the load generator included. Nothing fails for being slow.

use serde::Serialize;

use crate::report::Report;

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
    let mut targets = Vec::new();
    let floor = report.points.iter().find(|p| p.what.contains("fdatasync"));
    if let (Some(floor), Some(one)) = (floor, report.point("AuthorizeStep", 1)) {
        let aim = floor.p50_us + 1_500.0;
        let text = format!("≤ fsync floor {:.2} ms + 1.5 ms", floor.p50_us / 1_000.0);
        let measured = format!("{:.2} ms", one.p50_us / 1_000.0);
        targets.push(target("AuthorizeStep p50, 1 caller", text, measured, one.p50_us <= aim));
    }
    for (what, aim) in [("AuthorizeStep", 0.25), ("GovernRun frame", 0.5)] {
        if let Some(share) = report.point(what, 64).and_then(|p| p.of_echo) {
            let name = format!("{what}, 64 callers");
            targets.push(target(
                &name,
                format!("≥ {aim} × echo"),
                format!("{share:.2} × echo"),
                share >= aim,
            ));
        }
    }
    if let Some(proof) = &report.proof {
        let rate = proof.links_a_second;
        let measured = format!("{:.0}k", rate / 1_000.0);
        targets.push(target("proof, steps a second", "≥ 300k".to_owned(), measured, rate >= 300_000.0));
    }
    if let Some(freeze) = &report.freeze {
        let name = format!("freeze to notice p99, {} running agents", freeze.runs);
        let (p99, contained) = (freeze.notice_p99_ms, freeze.contained_ms);
        targets.push(target(&name, "≤ 100 ms".to_owned(), format!("{p99:.0} ms"), p99 <= 100.0));
        let name = format!("freeze contained, {} running agents", freeze.runs);
        targets.push(target(&name, "≤ 5 s".to_owned(), format!("{contained} ms"), contained <= 5_000));
    }
    let idle = report.idle_mib;
    targets.push(target("idle memory", "≤ 150 MiB".to_owned(), format!("{idle:.0} MiB"), idle <= 150.0));
    let empty = report.start_empty_ms;
    targets.push(target(
        "start, empty folder",
        "≤ 1 s".to_owned(),
        format!("{empty:.0} ms"),
        empty <= 1_000.0,
    ));
    let (stored, runs) = (report.start_stored_ms, report.stored_runs);
    let name = format!("start, {runs} stored runs (aimed at with 100k)");
    targets.push(target(&name, "≤ 2 s".to_owned(), format!("{stored:.0} ms"), stored <= 2_000.0));
    targets
}
