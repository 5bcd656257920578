//! `runspine replay`: governs recorded agent runs and says what happened.

mod arguments;
pub mod client;
mod govern;
mod outcome;
mod pack;
mod recording;
mod settle;
mod summary;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use contracts_spine::v1::run_service_client::RunServiceClient;
use futures::{StreamExt as _, TryStreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};

use self::{
    client::{Endpoint, Mesh},
    govern::{Rules, govern},
    outcome::RunReport,
    pack::Pack,
    recording::{BadLine, Recording},
};
use crate::failure::Failure;

/// Flags of `runspine replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Recorded runs, JSON Lines in the OpenAI chat format.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Policy pack: a folder with pack.toml and rules.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// A run whose reward is 0 ends as failed.
    #[arg(long)]
    outcome_from_reward: bool,
    /// Govern the runs that can be read even when other lines can't. The exit code says so all the same.
    #[arg(long)]
    keep_going: bool,
    /// Runs governed at the same time.
    #[arg(long, default_value_t = 8, value_name = "N")]
    parallel: usize,
    /// The project that the runs belong to.
    #[arg(long, default_value = "replay", value_name = "ID")]
    project: String,
    /// How long a lease lives, in milliseconds: an agent that crashed is ended after this time.
    #[arg(long, default_value_t = 5_000, value_name = "MS")]
    lease_ttl_ms: u64,
    /// Write the bundle of every run into this folder.
    #[arg(long, value_name = "DIR")]
    bundles: Option<PathBuf>,
    #[command(flatten)]
    endpoint: Endpoint,
}

/// Runs the command.
pub async fn replay(args: ReplayArgs) -> Result<(), Failure> {
    let (runs, bad) = read(&args)?;
    let pack = args.policies.as_ref().map_or_else(|| Ok(Pack::default()), |folder| Pack::read(folder))?;
    let mesh = args.endpoint.open().await?;
    let done = govern_all(&args, &mesh, &pack, &runs).await;
    let result = match done {
        Ok((mut reports, took)) => {
            settle::settle(&mesh, &mut reports).await?;
            if let Some(folder) = &args.bundles {
                settle::export(&mesh, &reports, folder).await?;
            }
            summary::print(&mesh, &pack, &reports, took).map_err(Failure::output)?;
            judged(&reports, &bad)
        }
        Err(failure) => Err(failure),
    };
    mesh.close().await;
    result
}

fn read(args: &ReplayArgs) -> Result<(Vec<Recording>, Vec<BadLine>), Failure> {
    let (mut runs, mut bad) = (Vec::new(), Vec::new());
    for file in &args.files {
        let (more, wrong) = recording::read(file)?;
        runs.extend(more);
        bad.extend(wrong);
    }
    let told: Vec<String> = bad.iter().map(|b| format!("{}: {}", b.place, b.cause)).collect();
    if !bad.is_empty() && !args.keep_going {
        let text = format!(
            "{}\nnothing was governed; --keep-going governs the runs that can be read",
            told.join("\n")
        );
        return Err(Failure::usage(text));
    }
    for line in told {
        writeln!(std::io::stderr(), "{line}").map_err(Failure::output)?;
    }
    if runs.is_empty() {
        return Err(Failure::usage("there is no run to govern"));
    }
    Ok((runs, bad))
}

async fn govern_all(
    args: &ReplayArgs,
    mesh: &Mesh,
    pack: &Pack,
    runs: &[Recording],
) -> Result<(Vec<RunReport>, Duration), Failure> {
    if args.policies.is_some() {
        let (rules, limits) = pack.install(mesh).await?;
        let (name, what) = (&pack.name, &pack.description);
        writeln!(std::io::stdout(), "policy pack {name}: {rules} rules and {limits} limits in force. {what}")
            .map_err(Failure::output)?;
    }
    let rules = Rules {
        project: args.project.clone(),
        outcome_from_reward: args.outcome_from_reward,
        lease_ttl_ms: args.lease_ttl_ms,
    };
    let bar = progress(runs.len());
    let begun = Instant::now();
    let client = RunServiceClient::with_interceptor(mesh.channel(), mesh.credential());
    let reports = futures::stream::iter(runs.iter().map(|run| {
        let (client, rules, bar) = (client.clone(), &rules, &bar);
        async move {
            let report = govern(client, pack, rules, run).await.map_err(|status| {
                let failure = Failure::from(status);
                Failure::work(format!("{}: {failure}", run.id))
            })?;
            bar.inc(1);
            Ok::<_, Failure>(report)
        }
    }))
    .buffered(args.parallel.max(1))
    .try_collect::<Vec<_>>()
    .await?;
    bar.finish_and_clear();
    Ok((reports, begun.elapsed()))
}

fn progress(runs: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(u64::try_from(runs).unwrap_or(u64::MAX));
    if let Ok(style) = ProgressStyle::with_template("governing {bar:40} {pos}/{len} runs, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// A replay succeeds when every line was a run and every run came to a proved end.
fn judged(reports: &[RunReport], bad: &[BadLine]) -> Result<(), Failure> {
    let unproved = reports.iter().filter(|r| !summary::is_proved(r)).count();
    if unproved > 0 {
        return Err(Failure::work(format!("{unproved} run(s) did not come to a proved end")));
    }
    if !bad.is_empty() {
        return Err(Failure::usage(format!("{} line(s) hold no run", bad.len())));
    }
    Ok(())
}
