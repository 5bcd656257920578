//! Settings under `controls.…`.

use runspine_boot::{BootError, ConfigProblem};
use serde::{Deserialize, Serialize};

/// Settings of the service; the defaults are the specified ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often lapsed leases are looked for, milliseconds. 100 to 5,000, default 500: a hold is gone 10 s after its
    /// lease lapsed, whatever happens.
    pub sweep_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { sweep_ms: 500 }
    }
}

impl Config {
    /// That every setting is in its range.
    ///
    /// # Errors
    /// With everything that is not.
    pub fn check(&self) -> Result<(), BootError> {
        if (100..=5_000).contains(&self.sweep_ms) {
            return Ok(());
        }
        let text = "must be 100 to 5,000";
        Err(BootError::Config(vec![ConfigProblem::new("controls.sweep_ms", "CONFIG_OUT_OF_RANGE", text)]))
    }
}
