//! Settings of the domain, section `policies`.

use serde::{Deserialize, Serialize};

/// The section `policies`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Compiled slices that are kept. 1 or more, default 8,192.
    pub slices: usize,
    /// Compiled snapshots that are kept. 1 or more, default 256.
    pub snapshots: usize,
    /// Compiled rules that are kept across snapshots. 1 or more, default 20,000.
    pub rules: usize,
    /// Attempts whose binding is kept in memory. 1 or more, default 20,000.
    pub runs: usize,
    /// Steps whose authorization is kept in memory until they are recorded. 1 or more, default 65,536.
    pub steps: usize,
    /// The most that the evaluation of one question may take, in milliseconds. 1 or more, default 20.
    pub evaluation_budget_ms: u64,
    /// How often approvals are escalated and ended whose time has come, in milliseconds. 1 or more, default 5,000.
    pub approvals_ms: u64,
    /// How often lessons are taken up and proposals ended whose time has come, in milliseconds. 1 or more, default 60,000.
    pub learning_ms: u64,
    /// How often snapshots are built anew that a change of the mesh's rules left behind, in milliseconds. 1 or more,
    /// default 3,000.
    pub snapshots_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            slices: 8_192,
            snapshots: 256,
            rules: 20_000,
            runs: 20_000,
            steps: 65_536,
            evaluation_budget_ms: 20,
            approvals_ms: 5_000,
            learning_ms: 60_000,
            snapshots_ms: 3_000,
        }
    }
}
