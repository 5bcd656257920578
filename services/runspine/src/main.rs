//! `runspine`: the whole mesh in one process, and the command line beside it.

mod certificate;
mod cli;
mod failure;
mod keys;
mod ledger;
mod mesh;
mod replay;
mod retention;
mod serve;
mod verify;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    cli::Cli::parse().run()
}
