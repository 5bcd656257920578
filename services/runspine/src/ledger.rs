//! `runspine ledger`: what an operator does about a ledger when its service is stopped.

use std::{io::Write as _, path::PathBuf};

use clap::{Args, Subcommand};

use crate::failure::Failure;

/// Flags of `runspine ledger`.
#[derive(Debug, Args)]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Accept that entries under published checkpoints are lost, so that a restored store takes writes again.
    AcknowledgeRollback {
        /// The folder of the published notes, `logs.checkpoint.publish_dir`.
        #[arg(long, value_name = "DIR")]
        publish_dir: PathBuf,
        /// Why; kept beside the notes, which stay as evidence.
        #[arg(long)]
        reason: String,
    },
}

/// Runs the command.
pub fn run(args: LedgerArgs) -> Result<(), Failure> {
    let Command::AcknowledgeRollback { publish_dir, reason } = args.command;
    let accepted = runspine_logs::acknowledge_rollback(&publish_dir, &reason)
        .map_err(|fault| Failure::usage(fault.to_string()))?;
    let mut out = std::io::stdout();
    for (log, size) in accepted {
        writeln!(out, "{log}: entries after what the store has, up to {size}, are accepted as lost")
            .map_err(Failure::output)?;
    }
    Ok(())
}
