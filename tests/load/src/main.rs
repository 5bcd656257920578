//! The load harness: measures the mesh against the machine's own limits in one run, and checks its ledger.
//!
//! `cargo run --release -p runspine-load` prints a table and writes `target/load/report.json`. Figures of different
//! runs can't be compared, because the machine is not the same from hour to hour; shares of the echo of the same run,
//! and processor time for a call, can. `runspine-load backtest` measures back-tests of recorded decisions.

mod agent;
mod alone;
mod appends;
mod args;
mod backtest;
mod domain;
mod echo;
mod floor;
mod freeze;
mod holds;
mod lag;
mod ledger;
mod machine;
mod measure;
mod proof;
mod report;
mod runs;
mod server;
mod steps;
mod storage;
mod stories;
mod stream;
mod targets;
mod wire;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Parser as _;

use crate::{
    agent::Book,
    args::{Args, Role},
    freeze::Freeze,
    lag::Lag,
    ledger::Audit,
    machine::{Machine, resident_mib},
    measure::{Outcome, Point},
    proof::Proof,
    report::Report,
    server::{Mesh, Server},
    storage::Storage,
    wire::Wire,
};

/// As the server has it, so that the generator costs no more than it must.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a process settles into after its first answer.
const SETTLE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(&args)));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nothing is left to tell it to when standard error is gone.
            let _ = writeln!(std::io::stderr(), "runspine-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// False: the mesh did not keep what it answered.
async fn run(args: &Args) -> Outcome<bool> {
    if args.role == Some(Role::Echo) {
        echo::serve().await?;
        return Ok(true);
    }
    let work =
        args.work.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/load"));
    let data = work.join("data");
    if data.exists() {
        fs::remove_dir_all(&data)?;
    }
    fs::create_dir_all(&data)?;
    if let Some(Role::Backtest { decisions }) = args.role {
        return backtest::run(served(args).await?, &work, args.engine, decisions).await;
    }
    let report = measure(args, &work).await?;
    report.write(&work.join("report.json"))?;
    report.print(&mut std::io::stdout().lock())?;
    Ok(report.audit.disagreements == 0)
}

/// The server that is measured.
async fn served(args: &Args) -> Outcome<PathBuf> {
    match &args.server {
        Some(binary) => Ok(binary.clone()),
        None => server::build().await,
    }
}

async fn measure(args: &Args, work: &Path) -> Outcome<Report> {
    let (seconds, callers) = (args.seconds(), args.callers());
    let binary = served(args).await?;
    let mut points = Vec::new();
    if args.wants("floor") {
        tell("the disk and the bare store")?;
        points.push(floor::disk(&work.join("data"), seconds.min(1.0))?);
        points.extend(floor::store(args.engine, &work.join("data"), &callers, seconds.min(1.0)).await?);
    }
    if args.wants("echo") {
        points.extend(echoes(&callers, seconds).await?);
    }
    let alone = alone::measure(args, &binary, work).await?;
    for point in points.iter().chain(&alone.points) {
        tell(&point.line())?;
    }
    points.extend(alone.points);
    let mut report = govern(args, binary, work, points).await?;
    report.long_proof = alone.proof;
    report.relate();
    report.targets = targets::judge(&report);
    Ok(report)
}

async fn echoes(callers: &[usize], seconds: f64) -> Outcome<Vec<Point>> {
    let server = Server::echo().await?;
    let mut points = Vec::new();
    for &count in callers {
        tell(&format!("echo, {count} callers"))?;
        points.push(echo::measure(&server.address, server.pid, count, seconds).await?);
    }
    server.stop().await?;
    Ok(points)
}

/// What was found out about the mesh under load.
struct Loaded {
    points: Vec<Point>,
    books: Vec<Book>,
    audit: Audit,
    lag: Option<Lag>,
    proof: Option<Proof>,
    freeze: Option<Freeze>,
}

async fn govern(args: &Args, binary: PathBuf, work: &Path, mut points: Vec<Point>) -> Outcome<Report> {
    let mesh = Mesh::new(binary, work, Storage::empty(args.engine).await).await?;
    tell("start on an empty folder")?;
    let (server, start_empty) = mesh.start(None).await?;
    tokio::time::sleep(SETTLE).await;
    let idle_mib = resident_mib(server.pid);
    let loaded = load(args, &mesh, &server).await?;
    points.extend(loaded.points);
    let loaded_mib = resident_mib(server.pid);
    server.stop().await?;
    tell("start over what is stored")?;
    let last = loaded.books.last().map(|b| b.run_id.as_str());
    let (server, start_stored) = mesh.start(last).await?;
    server.stop().await?;
    let millis = |d: Duration| d.as_secs_f64() * 1_000.0;
    Ok(Report {
        machine: Machine::read(),
        seconds: args.seconds(),
        points,
        proof: loaded.proof,
        long_proof: None,
        freeze: loaded.freeze,
        lag: loaded.lag,
        idle_mib,
        loaded_mib,
        start_empty_ms: millis(start_empty),
        start_stored_ms: millis(start_stored),
        stored_runs: loaded.books.len(),
        audit: loaded.audit,
        targets: Vec::new(),
    })
}

async fn load(args: &Args, mesh: &Mesh, server: &Server) -> Outcome<Loaded> {
    let (seconds, pid) = (args.seconds(), server.pid);
    let (mut points, mut books) = (Vec::new(), Vec::new());
    for callers in args.callers() {
        let wire = Arc::new(Wire::connect(&server.address, &mesh.key, callers).await?);
        let mut take = |(more, run): (Vec<Point>, Vec<Book>)| {
            points.extend(more);
            books.extend(run);
        };
        if args.wants("steps") {
            tell(&format!("AuthorizeStep and RecordStep, {callers} callers"))?;
            take(steps::measure(&wire, pid, callers, seconds).await?);
        }
        if args.wants("stream") {
            tell(&format!("GovernRun, {callers} streams"))?;
            take(stream::measure(&wire, pid, callers, seconds).await?);
        }
        if args.wants("runs") {
            tell(&format!("whole runs, {callers} callers"))?;
            take(runs::measure(&wire, pid, callers, seconds).await?);
        }
    }
    let wire = Arc::new(Wire::connect(&server.address, &mesh.key, 64).await?);
    if args.stored_runs > books.len() {
        tell(&format!("storing {} runs", args.stored_runs))?;
        books.extend(runs::store(&wire, 64, args.stored_runs - books.len()).await?);
    }
    tell(&format!("the ledger of {} runs", books.len()))?;
    let audit = ledger::check(&wire, &books).await?;
    let lag = lag::measure(&wire).await?;
    let proof = proof::measure(&wire, &books).await?;
    // Last: what it freezes ends without the ledger that agents keep.
    let mut freeze = None;
    if args.wants("freeze") {
        let runs = args.frozen_runs();
        tell(&format!("a freeze of {runs} running agents"))?;
        freeze = Some(
            freeze::measure(&Arc::new(Wire::connect(&server.address, &mesh.key, runs).await?), runs).await?,
        );
    }
    Ok(Loaded { points, books, audit, lag, proof, freeze })
}

fn tell(what: &str) -> Outcome<()> {
    writeln!(std::io::stderr(), "{what}")?;
    Ok(())
}
