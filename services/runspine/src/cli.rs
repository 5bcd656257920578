//! The commands and their flags.

use std::{future::Future, io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};
use runspine_boot::{Args, Deps};

use crate::{certificate, failure::Failure, keys, ledger, mesh, replay, retention, serve, verify};

/// A gRPC mesh that governs AI agent runs.
#[derive(Debug, Parser)]
#[command(
    name = "runspine",
    version,
    about,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the whole mesh from this process.
    Serve(Args),
    /// Govern recorded agent runs and report what happened.
    Replay(replay::ReplayArgs),
    /// Check an exported bundle. Needs no server, no network and no database.
    Verify(verify::VerifyArgs),
    /// Check a certificate. Needs no server, no network and no database.
    VerifyCertificate(certificate::CertificateArgs),
    /// Export the bundle of a run.
    Export(verify::ExportArgs),
    /// Print the public keys of a mesh, for `verify --trust`.
    Trust(replay::client::Endpoint),
    /// Make, list and revoke API keys.
    Keys(keys::KeysArgs),
    /// What an operator does about a ledger whose service is stopped.
    Ledger(ledger::LedgerArgs),
    /// Reclaim space of a mesh that is stopped.
    Retention(retention::RetentionArgs),
}

impl Cli {
    /// Runs the command.
    pub fn run(self) -> ExitCode {
        match self.command {
            None if self.server.print_config => finish(block_on(async { print_config(&self.server) })),
            None => finish(Err(Failure::usage("a command is needed; see --help"))),
            Some(Command::Serve(args)) if args.print_config => {
                finish(block_on(async move { print_config(&args) }))
            }
            Some(Command::Serve(args)) => finish(block_on(serve::serve(args))),
            Some(Command::Replay(args)) => finish(block_on(replay::replay(args))),
            Some(Command::Verify(args)) => verify::verify(&args),
            Some(Command::VerifyCertificate(args)) => certificate::verify(&args),
            Some(Command::Export(args)) => finish(block_on(verify::export(args))),
            Some(Command::Trust(endpoint)) => finish(block_on(verify::trust(endpoint))),
            Some(Command::Keys(args)) => finish(keys::run(args)),
            Some(Command::Ledger(args)) => finish(ledger::run(args)),
            Some(Command::Retention(args)) => finish(block_on(retention::run(args))),
        }
    }
}

fn print_config(args: &Args) -> Result<(), Failure> {
    let deps = Deps::load(args)?;
    mesh::Sections::read(&deps.settings)?;
    std::io::stdout().write_all(deps.settings.print().as_bytes()).map_err(Failure::output)
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|e| Failure::system("no runtime", &e))?.block_on(work)
}

fn finish(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}
