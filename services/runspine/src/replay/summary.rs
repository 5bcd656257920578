//! What a replay came to, for a person.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    time::Duration,
};

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use contracts_common::common::v1::{AuditStatus, RunStatus};
use contracts_spine::v1::ProofStatus;

use super::{client::Mesh, outcome::RunReport, pack::Pack};

/// Whether the run's contract is COMPLETE and its proof VERIFIED.
pub fn is_proved(report: &RunReport) -> bool {
    let complete = report.ended.as_ref().is_some_and(|r| r.audit_status() == AuditStatus::Complete);
    complete && report.proof == Some(ProofStatus::Verified)
}

/// Prints the summary.
pub fn print(mesh: &Mesh, pack: &Pack, reports: &[RunReport], took: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", per_run(reports))?;
    writeln!(out, "{}", totals(reports, took))?;
    if pack.prices.is_empty() {
        writeln!(out, "No prices are known: --policies names a pack with some.")?;
    }
    next_steps(&mut out, mesh, reports)
}

fn per_run(reports: &[RunReport]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.set_header(["recording", "status", "why", "steps", "not allowed", "cost USD", "audit", "proof"]);
    for report in reports {
        let run = report.ended.clone().unwrap_or_default();
        let denied: Vec<String> =
            report.denials.iter().map(|d| format!("{}#{} {}", d.name, d.step_index, d.reason)).collect();
        let why = match (&report.start_refused, run.error_code.is_empty()) {
            (Some(reason), _) => reason.clone(),
            (None, false) => run.error_code.clone(),
            (None, true) => String::new(),
        };
        table.add_row([
            report.recording.clone(),
            name(run.status().as_str_name(), "RUN_STATUS_"),
            why,
            report.steps.to_string(),
            denied.join("\n"),
            usd(report.cost_microusd),
            name(run.audit_status().as_str_name(), "AUDIT_STATUS_"),
            report.proof.map_or_else(String::new, |p| name(p.as_str_name(), "PROOF_STATUS_")),
        ]);
    }
    table
}

fn totals(reports: &[RunReport], took: Duration) -> Table {
    let sum = |f: fn(&RunReport) -> i64| reports.iter().map(f).sum::<i64>();
    let steps: u64 = reports.iter().map(|r| r.steps).sum();
    let incidents: BTreeSet<&String> = reports.iter().flat_map(|r| &r.incidents).collect();
    let rate = f64::from(u32::try_from(steps).unwrap_or(u32::MAX)) / took.as_secs_f64().max(0.001);
    let proved = reports.iter().filter(|r| is_proved(r)).count();
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED);
    table.add_row(["runs".to_owned(), format!("{} ({})", reports.len(), counted(statuses(reports)))]);
    table.add_row(["steps recorded".to_owned(), format!("{steps}, {rate:.0} a second")]);
    table.add_row(["verdicts".to_owned(), counted(verdicts(reports))]);
    let count = |f: fn(&RunReport) -> u64| reports.iter().map(f).sum::<u64>().to_string();
    table.add_row(["decided without a decider".to_owned(), count(|r| r.degraded)]);
    table.add_row(["would have blocked".to_owned(), count(|r| r.would_block)]);
    table.add_row(["incidents".to_owned(), incidents.len().to_string()]);
    let (input, output) = (sum(|r| r.tokens_input), sum(|r| r.tokens_output));
    table.add_row(["tokens (estimated)".to_owned(), format!("{input} in, {output} out")]);
    table.add_row(["cost (estimated)".to_owned(), format!("{} USD", usd(sum(|r| r.cost_microusd)))]);
    table.add_row(["audit COMPLETE, proof VERIFIED".to_owned(), format!("{proved} of {}", reports.len())]);
    table
}

fn statuses(reports: &[RunReport]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for report in reports {
        let status = report.ended.as_ref().map_or(RunStatus::Unspecified, |r| r.status());
        *counts.entry(name(status.as_str_name(), "RUN_STATUS_")).or_default() += 1;
    }
    counts
}

fn verdicts(reports: &[RunReport]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (verdict, n) in reports.iter().flat_map(|r| &r.verdicts) {
        *counts.entry(verdict.clone()).or_default() += n;
    }
    counts
}

fn counted(counts: BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counts.into_iter().map(|(what, n)| format!("{what} {n}")).collect();
    parts.join(", ")
}

fn name(full: &str, prefix: &str) -> String {
    full.trim_start_matches(prefix).to_owned()
}

fn usd(microusd: i64) -> String {
    format!("{}.{:06}", microusd / 1_000_000, microusd.rem_euclid(1_000_000))
}

/// The calls with which to look further.
fn next_steps(out: &mut impl Write, mesh: &Mesh, reports: &[RunReport]) -> io::Result<()> {
    let address = match mesh.data() {
        Some(data) => {
            writeln!(out, "Look further: runspine serve --data {} &", data.display())?;
            writeln!(out, "  export KEY={}", mesh.key())?;
            "http://127.0.0.1:7400".to_owned()
        }
        None => {
            writeln!(out, "Look further:")?;
            mesh.address().to_owned()
        }
    };
    let host = address.trim_start_matches("http://").to_owned();
    let curl = |service: &str, body: String| {
        format!(
            "  buf curl --protocol grpc --http2-prior-knowledge -H \"authorization: Bearer $KEY\" \\\n    -d '{body}' {address}/{service}"
        )
    };
    if let Some(denied) = reports.iter().find(|r| !r.denials.is_empty()) {
        writeln!(out, "  # what the rules denied in {}", denied.recording)?;
        let body = format!("{{\"run_id\":\"{}\",\"verdicts\":[\"VERDICT_DENY\"]}}", denied.run_id);
        writeln!(out, "{}", curl("runspine.policies.v1.DecisionService/ListDecisions", body))?;
    }
    if let Some(id) = reports.iter().flat_map(|r| &r.incidents).next() {
        writeln!(out, "  # an incident")?;
        let body = format!("{{\"incident_id\":\"{id}\"}}");
        writeln!(out, "{}", curl("runspine.incidents.v1.IncidentService/GetIncident", body))?;
    }
    if let Some(first) = reports.iter().find(|r| !r.run_id.is_empty()) {
        writeln!(out, "  # a proof, with grpcurl")?;
        writeln!(
            out,
            "  grpcurl -plaintext -H \"authorization: Bearer $KEY\" -d '{}' \\\n    {host} runspine.spine.v1.RunService/GetRunProof",
            run_body(&first.run_id)
        )?;
    }
    Ok(())
}

fn run_body(run_id: &str) -> String {
    format!("{{\"run_id\":\"{run_id}\"}}")
}
