//! Why a process does not start.

use std::fmt;

use runspine_errors::Fault;
use runspine_rpc::RegistryError;

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The setting, dotted.
    pub key: String,
    /// `CONFIG_UNKNOWN`, `CONFIG_OUT_OF_RANGE`, `FLAG_IS_LAW`, `FLAG_LOOSENED`, …
    pub code: &'static str,
    /// What is wrong, and where it was said.
    pub message: String,
}

impl ConfigProblem {
    /// A problem with a setting.
    #[must_use]
    pub fn new(key: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { key: key.into(), code, message: message.into() }
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.key, self.message)
    }
}

/// Why a process does not start or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The configuration; everything wrong with it at once.
    #[error("the configuration has {} problem(s){}", .0.len(), lines(.0))]
    Config(Vec<ConfigProblem>),
    /// The operation contracts; everything wrong with them at once.
    #[error(transparent)]
    Contracts(#[from] RegistryError),
    /// A part could not be made ready, e.g. a store opened.
    #[error("{what}: {fault}")]
    Start {
        /// What was being made ready.
        what: String,
        /// Why it failed.
        fault: Fault,
    },
    /// A listener, file or signal of the system.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A worker ended although nobody stopped it.
    #[error("the worker {0} ended by itself")]
    WorkerEnded(String),
}

impl BootError {
    /// A part that could not be made ready.
    #[must_use]
    pub fn start(what: impl Into<String>, fault: Fault) -> Self {
        Self::Start { what: what.into(), fault }
    }

    /// A refusal of the system.
    #[must_use]
    pub fn system(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::System { what: what.into(), source }
    }

    /// One problem with a setting.
    #[must_use]
    pub fn config(key: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::Config(vec![ConfigProblem::new(key, code, message)])
    }
}

fn lines(problems: &[ConfigProblem]) -> String {
    problems.iter().map(|p| format!("\n  {p}")).collect()
}
