//! Everything of one run of the harness, as JSON and as tables.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::{
    appends::LongProof,
    freeze::Freeze,
    lag::Lag,
    ledger::Audit,
    machine::Machine,
    measure::{Outcome, Point},
    proof::Proof,
    targets::Target,
};

/// What one run of the harness gave.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The machine.
    pub machine: Machine,
    /// Seconds a point.
    pub seconds: f64,
    /// Everything that was measured with callers.
    pub points: Vec<Point>,
    /// The proof of the longest run.
    pub proof: Option<Proof>,
    /// The proof of a long trace by `logs` alone.
    pub long_proof: Option<LongProof>,
    /// The freeze of running agents.
    pub freeze: Option<Freeze>,
    /// How far the ledger was behind the domains.
    pub lag: Option<Lag>,
    /// Resident memory in MiB after the first answer on an empty folder.
    pub idle_mib: f64,
    /// The same after the load.
    pub loaded_mib: f64,
    /// Milliseconds from start to first answer on an empty folder.
    pub start_empty_ms: f64,
    /// The same with `stored_runs` runs.
    pub start_stored_ms: f64,
    /// Runs in the folder at that start.
    pub stored_runs: usize,
    /// The check of the mesh's own ledger.
    pub audit: Audit,
    /// What was aimed at.
    pub targets: Vec<Target>,
}

impl Report {
    /// A point.
    pub fn point(&self, what: &str, callers: usize) -> Option<&Point> {
        self.points.iter().find(|p| p.what == what && p.callers == callers)
    }

    /// Gives every point its share of the echo's rate.
    pub fn relate(&mut self) {
        let echoes: Vec<(usize, f64)> =
            self.points.iter().filter(|p| p.what == "unary echo").map(|p| (p.callers, p.rate)).collect();
        for point in &mut self.points {
            let echo = echoes.iter().find(|(callers, _)| *callers == point.callers);
            let comparable = !point.what.contains("fdatasync") && !point.what.contains("whole run");
            point.of_echo = echo.filter(|_| comparable).map(|(_, rate)| point.rate / rate);
        }
    }

    /// Writes the JSON.
    pub fn write(&self, path: &Path) -> Outcome<()> {
        fs::write(path, serde_json::to_vec_pretty(self)?)?;
        Ok(())
    }

    /// Prints the tables.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let m = &self.machine;
        let build = if m.optimised { "optimised" } else { "NOT optimised: no figure is worth anything" };
        writeln!(out, "{} × {}, {} MiB, Linux {}, {build}", m.cores, m.cpu, m.memory_mib, m.kernel)?;
        writeln!(out, "{}", points(&self.points))?;
        writeln!(out, "{}", self.facts())?;
        writeln!(out, "{}", targets(&self.targets))?;
        for wrong in &self.audit.wrong {
            writeln!(out, "WRONG: {wrong}")?;
        }
        Ok(())
    }

    fn facts(&self) -> Table {
        let mut table = plain();
        if let Some(proof) = &self.proof {
            let text = format!(
                "{:.0} links a second ({} links, {:.1} ms for the caller)",
                proof.links_a_second, proof.links, proof.wall_ms
            );
            table.add_row(["proof".to_owned(), text]);
        }
        if let Some(long) = &self.long_proof {
            let text = format!(
                "{:.0} links a second, {:.0} a second of one core ({} links, {:.0} MiB before, {:.0} after)",
                long.links_a_second, long.links_a_core_second, long.links, long.before_mib, long.after_mib
            );
            table.add_row(["proof of a long trace".to_owned(), text]);
        }
        table.add_row([
            "memory".to_owned(),
            format!("{:.0} MiB idle, {:.0} MiB after the load", self.idle_mib, self.loaded_mib),
        ]);
        let stored = format!("{:.0} ms with {} stored runs", self.start_stored_ms, self.stored_runs);
        table.add_row([
            "start to first answer".to_owned(),
            format!("{:.0} ms empty, {stored}", self.start_empty_ms),
        ]);
        let a = &self.audit;
        let text = format!(
            "{} runs: {} decisions ({} degraded) + {} steps + {} starts answered ({} put again), {} records, {} links verified, \
             {} µUSD; {} disagree; projected {} ms after the load",
            a.runs,
            a.decisions,
            a.degraded,
            a.steps,
            a.runs,
            a.retries,
            a.records,
            a.links,
            a.cost_microusd,
            a.disagreements,
            a.projection_lag_ms
        );
        table.add_row(["ledger".to_owned(), text]);
        if let Some(lag) = &self.lag {
            let text =
                format!("{:.0} ms median, {:.0} ms p99 of {} entries", lag.p50_ms, lag.p99_ms, lag.entries);
            table.add_row(["ledger behind the domains".to_owned(), text]);
        }
        table
    }
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table
}

fn points(points: &[Point]) -> Table {
    let mut table = plain();
    table.set_header([
        "what",
        "callers",
        "a second",
        "p50 ms",
        "p99 ms",
        "of echo",
        "server CPU µs",
        "others' CPU",
    ]);
    for p in points {
        table.add_row([
            p.what.clone(),
            p.callers.to_string(),
            format!("{:.0}", p.rate),
            format!("{:.3}", p.p50_us / 1_000.0),
            format!("{:.3}", p.p99_us / 1_000.0),
            p.of_echo.map_or_else(String::new, |share| format!("{share:.2}")),
            format!("{:.0}", p.server_cpu_us),
            format!("{:.0} %", p.others_cpu * 100.0),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn targets(targets: &[Target]) -> Table {
    let mut table = plain();
    table.set_header(["target", "aim", "measured", "met"]);
    for t in targets {
        let met = if t.met { "yes" } else { "NO" };
        table.add_row([t.what.as_str(), t.aim.as_str(), t.measured.as_str(), met]);
    }
    table
}
