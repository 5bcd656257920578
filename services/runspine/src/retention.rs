//! `runspine retention`: reclaims space of a mesh that is stopped.

use std::io::Write as _;

use clap::Subcommand;
use jiff::{civil::Date, tz::TimeZone};
use runspine_boot::{Args, Deps};
use runspine_logs::{RetentionError, apply_retention};
use runspine_types::Micros;

use crate::{failure::Failure, mesh::Sections};

/// Flags of `runspine retention`.
#[derive(Debug, clap::Args)]
pub struct RetentionArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drop the records of runs that ended before a day, when each is archived in a bundle that verifies now and none is
    /// under a legal hold; otherwise nothing. Headers, seals, the ledger and the bundles stay. System and dispatch records
    /// go with them once they are 180 days old.
    Apply(Box<Apply>),
}

#[derive(Debug, clap::Args)]
struct Apply {
    /// The day, YYYY-MM-DD, UTC. What ended on it stays.
    #[arg(long, value_name = "DATE")]
    before: Date,
    /// Who does it; stands on the ledger.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    operator: String,
    #[command(flatten)]
    server: Args,
}

/// Runs the command.
pub async fn run(args: RetentionArgs) -> Result<(), Failure> {
    let Command::Apply(apply) = args.command;
    let before = apply.before.to_zoned(TimeZone::UTC).map_err(|error| Failure::usage(error.to_string()))?;
    let before = Micros(before.timestamp().as_microsecond());
    let deps = Deps::load(&apply.server)?;
    let config = Sections::read(&deps.settings)?.logs();
    let purged = apply_retention(config, &deps, before, &apply.operator).await.map_err(refused)?;
    let text = format!(
        "runs {}, their records {}, system records {}, dispatch records {}",
        purged.runs, purged.records, purged.system_records, purged.dispatch_records
    );
    writeln!(std::io::stdout(), "dropped what ended before {}: {text}", apply.before).map_err(Failure::output)
}

/// A refusal with everything that stands against it, a line each.
fn refused(error: RetentionError) -> Failure {
    match error {
        RetentionError::Boot(error) => error.into(),
        RetentionError::Refused(fault) => {
            let line = |what: &runspine_errors::PreconditionViolation| {
                format!("\n  {} has to hold: {}", what.subject, what.description)
            };
            let lines: String = fault.preconditions().iter().map(line).collect();
            Failure::work(format!("{fault}{lines}"))
        }
    }
}
