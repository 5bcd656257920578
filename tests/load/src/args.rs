//! Flags of the harness.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Measures the mesh against the machine's own limits in one run, and checks its ledger.
#[derive(Debug, Clone, Parser)]
#[command(name = "runspine-load", version, about)]
pub struct Args {
    /// Seconds that each point is measured. Default 3, with --quick 0.3.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Short points and fewer callers, for CI: everything is checked, and no figure is worth anything.
    #[arg(long)]
    pub quick: bool,
    /// The server to measure. Default: `runspine`, built with the profile of this binary.
    #[arg(long, value_name = "FILE")]
    pub server: Option<PathBuf>,
    /// Working folder; its subfolder `data` is emptied first. Default: `load` in the target folder.
    #[arg(long, value_name = "DIR")]
    pub work: Option<PathBuf>,
    /// Numbers of callers, in order.
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    callers: Vec<usize>,
    /// Only these parts: `floor`, `echo`, `holds`, `appends`, `stories` (domains alone), `steps`, `stream`, `runs`,
    /// `freeze`. Default: all.
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    only: Vec<String>,
    /// What the measured services store in. PostgreSQL is started from the installed binaries, waits for the disk and
    /// ends with the harness; its processor time is in no figure.
    #[arg(long, value_enum, default_value_t = Engine::Sqlite)]
    pub engine: Engine,
    /// Whole runs stored before the last start is timed. They are made through the API, about 200 a second.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub stored_runs: usize,
    /// Running agents that the freeze of the part `freeze` has to reach. Default 1,000, with --quick 32.
    #[arg(long, value_name = "N")]
    frozen_runs: Option<usize>,
    /// Records of the trace that `appends` proves. Default 1,000,000, with --quick 2,000.
    #[arg(long, value_name = "N")]
    long_trace: Option<usize>,
    /// Runs of the ledger that `stories` asks. Default 1,000,000, with --quick 2,000.
    #[arg(long, value_name = "N")]
    ledger_runs: Option<usize>,
    /// What to do instead of measuring.
    #[command(subcommand)]
    pub role: Option<Role>,
}

/// What services store in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// A file for each domain.
    Sqlite,
    /// A schema for each domain.
    Postgres,
}

/// What the harness is for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Role {
    /// Serve the bare echo, as a process of its own like the mesh.
    Echo,
    /// Record decisions through the API, and measure how fast back-tests decide them again.
    Backtest {
        /// Decisions to record, in runs of a hundred.
        #[arg(long, value_name = "N", default_value_t = 100_000)]
        decisions: u64,
    },
}

impl Args {
    /// Seconds a point.
    pub fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.3 } else { 3.0 }).clamp(0.05, 60.0)
    }

    /// Numbers of callers.
    pub fn callers(&self) -> Vec<usize> {
        match (self.callers.is_empty(), self.quick) {
            (false, _) => self.callers.iter().copied().filter(|n| (1..=1_024).contains(n)).collect(),
            (true, true) => vec![1, 16, 64],
            (true, false) => vec![1, 16, 64, 256],
        }
    }

    /// Running agents under the measured freeze.
    pub fn frozen_runs(&self) -> usize {
        self.frozen_runs.unwrap_or(if self.quick { 32 } else { 1_000 }).clamp(1, 10_000)
    }

    /// Records of the long trace.
    pub fn long_trace(&self) -> usize {
        self.long_trace.unwrap_or(if self.quick { 2_000 } else { 1_000_000 }).clamp(1, 5_000_000)
    }

    /// Runs of the big ledger.
    pub fn ledger_runs(&self) -> usize {
        self.ledger_runs.unwrap_or(if self.quick { 2_000 } else { 1_000_000 }).clamp(1, 10_000_000)
    }

    /// Whether a part is wanted.
    pub fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|p| p == part)
    }
}
