//! Settings of the spine: numbers of the run kernel, its reconciler and its relay.

use std::path::PathBuf;

use runspine_boot::BootError;
use serde::{Deserialize, Serialize};

use crate::{door::DoorConfig, kernel::again::Backoff};

/// Settings of the spine.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The door.
    pub door: DoorConfig,
    /// The run kernel.
    pub kernel: KernelConfig,
    /// The reconciler.
    pub reconciler: ReconcilerConfig,
    /// The event relay.
    pub relay: RelayConfig,
    /// Replays.
    pub replay: ReplayConfig,
    /// Spans of OpenTelemetry.
    pub otlp: OtlpConfig,
}

/// Settings of replays.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayConfig {
    /// Time of a replay that names none, in milliseconds. 1,000 to 3,600,000, default 300,000.
    pub timeout_ms: u32,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { timeout_ms: 300_000 }
    }
}

/// Settings of the ingest of OpenTelemetry spans.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// The most MiB of a request of spans, as it comes and decompressed. 4 to 64, default 16; other requests have 4.
    pub max_message_mib: usize,
    /// A TOML file with what the tokens of models cost, for spans that don't say it. Default none: their cost is 0, and
    /// the proof of their run finds COST_UNKNOWN.
    pub prices: Option<PathBuf>,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self { max_message_mib: 16, prices: None }
    }
}

impl OtlpConfig {
    /// Refuses values out of range.
    ///
    /// # Errors
    /// With the setting.
    pub fn check(&self) -> Result<(), BootError> {
        if (4..=64).contains(&self.max_message_mib) {
            return Ok(());
        }
        Err(BootError::config("spine.otlp.max_message_mib", "CONFIG_OUT_OF_RANGE", "must be 4 to 64"))
    }

    /// The most bytes of a request of spans.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_mib.saturating_mul(1024 * 1024)
    }
}

/// Settings of the run kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KernelConfig {
    /// Running time of a run that names none, in milliseconds. 1,000 to 86,400,000, default 300,000.
    pub run_timeout_ms: u64,
    /// Time to live of a lease whose run names none, in milliseconds. 5,000 to 300,000, default 30,000.
    pub lease_ttl_ms: u64,
    /// Most attempts of a run that names none. 1 to 10, default 1: who does not say that it comes back gets a run that
    /// ends.
    pub max_attempts: u32,
    /// How long the second attempt waits, in milliseconds; each further one twice as long. Default 60,000.
    pub retry_base_ms: u64,
    /// The longest wait of an attempt before jitter, in milliseconds. Default 3,600,000.
    pub retry_cap_ms: u64,
    /// The most that is added to the wait of an attempt, per mille. Default 200.
    pub retry_jitter_permille: u64,
    /// Most steps in flight of a run that names none. 1 to 256, default 16.
    pub max_inflight: u32,
    /// A step begun later than this after its decision is late, in milliseconds. Default 60,000.
    pub step_not_after_ms: i64,
    /// Time from the beginning of its phase in which an action is due, in milliseconds. Default 5,000.
    pub contract_deadline_ms: u64,
    /// How long a start may take before its run counts as abandoned, in milliseconds. 10,000 to 60,000, default 30,000.
    pub start_patience_ms: u64,
    /// How long the freeze watch may be silent before freezes are unknown, in milliseconds. Default 5,000.
    pub freeze_confirmed_ms: i64,
    /// Whether STANDARD refuses while freezes are unknown, as STRICT always does. Default false: it goes on, degraded.
    pub freeze_fail_closed: bool,
    /// How long steps in flight may take after a stop, in milliseconds. 0 to 60,000, default 5,000.
    pub drain_ms: i64,
    /// How long a pause that names no time may last, in seconds. 60 to 86,400, default 3,600.
    pub pause_sla_s: u32,
    /// Agents that may start runs; empty (default) for any. A profile that asks for known agents names them here.
    pub known_agents: Vec<String>,
    /// Sessions kept in memory. Default 8,192.
    pub sessions: usize,
    /// Unanswered frames of a stream. 1 to 1,024, default 64.
    pub stream_window: usize,
    /// How long a stream may last, in minutes. Default 60.
    pub stream_max_minutes: u64,
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            run_timeout_ms: 300_000,
            lease_ttl_ms: 30_000,
            max_attempts: 1,
            retry_base_ms: 60_000,
            retry_cap_ms: 3_600_000,
            retry_jitter_permille: 200,
            max_inflight: 16,
            step_not_after_ms: 60_000,
            contract_deadline_ms: 5_000,
            start_patience_ms: 30_000,
            freeze_confirmed_ms: 5_000,
            freeze_fail_closed: false,
            drain_ms: 5_000,
            pause_sla_s: 3_600,
            known_agents: Vec::new(),
            sessions: 8_192,
            stream_window: 64,
            stream_max_minutes: 60,
        }
    }
}

impl KernelConfig {
    /// How long further attempts wait.
    #[must_use]
    pub fn backoff(&self) -> Backoff {
        Backoff {
            base_ms: self.retry_base_ms,
            cap_ms: self.retry_cap_ms,
            jitter_permille: self.retry_jitter_permille,
        }
    }
}

/// Settings of the reconciler.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconcilerConfig {
    /// Time between two passes, in milliseconds, ±20 %. Default 1,000.
    pub poll_ms: u64,
    /// Contracts and runs claimed at once. 1 to 200, default 50.
    pub batch: u32,
    /// Driven at the same time. 1 to 64, default 8.
    pub parallel: usize,
    /// How long a claim lasts, in milliseconds. 5,000 to 120,000, default 30,000.
    pub claim_ms: i64,
}

impl Default for ReconcilerConfig {
    fn default() -> Self {
        Self { poll_ms: 1_000, batch: 50, parallel: 8, claim_ms: 30_000 }
    }
}

/// Settings of the event relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Time between two pulls of an idle outbox, in milliseconds. Default 250.
    pub poll_ms: u64,
    /// Events pulled at once. 1 to 500, default 200.
    pub batch: u32,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self { poll_ms: 250, batch: 200 }
    }
}
