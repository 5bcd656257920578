//! Settings of `activity`.

use serde::{Deserialize, Serialize};

/// The section `activity`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// After so many minutes without anybody who drives it, a queued run is an orphan. 1 or more, default 30.
    pub orphan_after_minutes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { orphan_after_minutes: 30 }
    }
}

impl Config {
    pub(crate) fn orphan_ms(&self) -> i64 {
        i64::from(self.orphan_after_minutes.max(1)) * 60_000
    }
}
