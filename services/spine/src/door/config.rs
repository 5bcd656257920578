//! Settings of the door.

use serde::{Deserialize, Serialize};

/// The section `spine.door`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DoorConfig {
    /// Calls a minute and key, step calls not counted. 1 or more, default 600.
    pub rate_per_minute: u32,
    /// Calls that may come at once before the rate counts. 1 or more, default 100.
    pub burst: u32,
    /// Runs started a minute and tenant. 1 or more, default 100.
    pub start_rate: u32,
    /// The most calls in flight. 1 or more, default 2,048.
    pub inflight: usize,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self { rate_per_minute: 600, burst: 100, start_rate: 100, inflight: 2_048 }
    }
}
