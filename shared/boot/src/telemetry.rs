//! Logs of this process: to standard error, as text or JSON.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::BootError;

/// The section `telemetry`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// What is logged, e.g. `info` or `info,runspine::rpc=debug`. Default `info`.
    pub log: String,
    /// `text` (default) or `json`.
    pub format: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: "text".to_owned() }
    }
}

/// Starts logging. A second start in one process, as in tests, keeps the first.
pub fn init(config: &TelemetryConfig) -> Result<(), BootError> {
    let filter = EnvFilter::try_new(&config.log)
        .map_err(|e| BootError::config("telemetry.log", "CONFIG_OUT_OF_RANGE", e.to_string()))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match config.format.as_str() {
        "text" => builder.try_init(),
        "json" => builder.json().flatten_event(true).try_init(),
        other => {
            let text = format!("{other:?} is neither text nor json");
            return Err(BootError::config("telemetry.format", "CONFIG_OUT_OF_RANGE", text));
        }
    };
    if let Err(kept) = started {
        tracing::debug!(%kept, "logging was started before");
    }
    Ok(())
}
