//! Settings under `logs.…`.

use std::{path::PathBuf, time::Duration};

use runspine_boot::{BootError, ConfigProblem};
use runspine_logs_domain::note::NoteKey;
use serde::{Deserialize, Serialize};

/// Settings of the service; the defaults are the specified ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Traces.
    pub trace: TraceConfig,
    /// Signing keys.
    pub signing: SigningConfig,
    /// Live streams.
    pub watch: WatchConfig,
    /// Audit contracts.
    pub contract: ContractConfig,
    /// Checkpoints of the ledger.
    pub checkpoint: CheckpointConfig,
    /// Stored inputs and outputs.
    pub payload: PayloadConfig,
    /// The archive of traces.
    pub archive: ArchiveConfig,
    /// Runs that exist only as OpenTelemetry spans.
    pub otlp: OtlpConfig,
    /// Replays.
    pub replay: ReplayConfig,
    /// Exports.
    pub export: ExportConfig,
}

/// Settings of exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExportConfig {
    /// Exports of one tenant that can be in the making, 1 to 100. Default 2.
    pub parallel: u32,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self { parallel: 2 }
    }
}

/// Settings of runs that exist only as OpenTelemetry spans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtlpConfig {
    /// Seconds without a span after which a run whose root came is over, 5 to 3 600. Default 60.
    pub quiet_seconds: u32,
    /// Whether STRICT takes spans of runs that nobody started, as the other profiles do. Default false.
    pub accept_ungoverned: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self { quiet_seconds: 60, accept_ungoverned: false }
    }
}

impl OtlpConfig {
    /// How long a run whose root came may be silent.
    #[must_use]
    pub fn quiet(&self) -> Duration {
        Duration::from_secs(self.quiet_seconds.into())
    }
}

/// Settings of replays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReplayConfig {
    /// Hours that a key stands for its input, 1 to 720. Default 24.
    pub key_h: u32,
    /// The same in seconds after its step could not be compared, or differed: it may soon be tried with another input.
    /// 1 to 86 400. Default 300.
    pub failed_key_s: u32,
}

impl Default for ReplayConfig {
    fn default() -> Self {
        Self { key_h: 24, failed_key_s: 300 }
    }
}

/// Settings of the archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchiveConfig {
    /// Where bundles are written. Default: `archive` in the data folder.
    pub dir: Option<PathBuf>,
    /// Days after its seal that a trace is archived, 1 to 36 500. Default 90.
    pub after_days: u32,
}

impl Default for ArchiveConfig {
    fn default() -> Self {
        Self { dir: None, after_days: 90 }
    }
}

/// Settings of traces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceConfig {
    /// Records that one trace can hold, 32 to 10 000 000; the last 16 are kept for CONTROL and RESOLUTION.
    /// Default 100 000.
    pub max_records: u64,
}

impl Default for TraceConfig {
    fn default() -> Self {
        Self { max_records: 100_000 }
    }
}

/// Where the signing keys are: Ed25519, PKCS#8 PEM, mode 0600, one file for each purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SigningConfig {
    /// Key of trace seals. Default: `keys/seal.pem` in the data folder.
    pub seal_key: Option<PathBuf>,
    /// Key of ledger checkpoints. Default: `keys/checkpoint.pem` in the data folder.
    pub checkpoint_key: Option<PathBuf>,
    /// Key of bundle manifests and export contents. Default: `keys/export.pem` in the data folder.
    pub export_key: Option<PathBuf>,
    /// Key of certificates. Default: `keys/certificate.pem` in the data folder.
    pub certificate_key: Option<PathBuf>,
}

/// Settings of stored inputs and outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PayloadConfig {
    /// File with the key that wraps the keys of payloads: 32 bytes in base64, mode 0600. Default: `keys/payload.key` in
    /// the data folder.
    pub master_key: Option<PathBuf>,
    /// Days after its end that payloads and salts of a run are kept, 1 to 36 500. Default 30.
    pub retention_days: u32,
}

impl Default for PayloadConfig {
    fn default() -> Self {
        Self { master_key: None, retention_days: 30 }
    }
}

/// Settings of live streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchConfig {
    /// Streams that one tenant can have open, 1 to 10 000. Default 100.
    pub max_streams: usize,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self { max_streams: 100 }
    }
}

/// Settings of audit contracts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContractConfig {
    /// Longest back-off between two drives of an overdue contract, in seconds. Default 300.
    pub backoff_cap_seconds: u32,
    /// Drives that fail before a contract is parked. Default 20.
    pub park_after: u32,
}

impl Default for ContractConfig {
    fn default() -> Self {
        Self { backoff_cap_seconds: 300, park_after: 20 }
    }
}

/// Settings of checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// What the first line of a checkpoint begins with: a name that belongs to whoever runs the mesh, without white space
    /// and plus signs. Required under STRICT; else default `runspine.local`.
    pub origin: String,
    /// Where notes are published: `<tenant>/<size>.note` and `<tenant>/latest.note`. Default: nowhere.
    pub publish_dir: Option<PathBuf>,
    /// Entries that no checkpoint covers, at most; 1 to 1 000 000. Default 1 000.
    pub every_entries: u64,
    /// Age in seconds of the oldest entry that no checkpoint covers, at most; 1 to 86 400. Default 60.
    pub every_seconds: u32,
    /// Keys of witnesses, `<name>+<hash>+<base64>`, at most 16. Default: none.
    pub witness_keys: Vec<String>,
}

/// The origin of a mesh that was given none.
const LOCAL: &str = "runspine.local";

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            origin: LOCAL.to_owned(),
            publish_dir: None,
            every_entries: 1_000,
            every_seconds: 60,
            witness_keys: Vec::new(),
        }
    }
}

impl Config {
    /// Refuses values out of range, all of them at once.
    ///
    /// # Errors
    /// With every problem.
    pub fn check(&self, strict: bool) -> Result<(), BootError> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, key: &str, range: &str| {
            if !holds {
                problems.push(ConfigProblem::new(key, "CONFIG_OUT_OF_RANGE", format!("must be {range}")));
            }
        };
        let records = (32..=10_000_000).contains(&self.trace.max_records);
        require(records, "logs.trace.max_records", "32 to 10 000 000");
        let streams = (1..=10_000).contains(&self.watch.max_streams);
        require(streams, "logs.watch.max_streams", "1 to 10 000");
        let cap = (1..=86_400).contains(&self.contract.backoff_cap_seconds);
        require(cap, "logs.contract.backoff_cap_seconds", "1 to 86 400");
        let park = (1..=1_000).contains(&self.contract.park_after);
        require(park, "logs.contract.park_after", "1 to 1 000");
        let origin = &self.checkpoint.origin;
        let named = !origin.is_empty() && origin.len() <= 200 && !origin.contains([' ', '+', '\t', '\n']);
        require(named, "logs.checkpoint.origin", "1 to 200 characters without white space and plus signs");
        // Whoever trusts the checkpoints of a mesh knows it by this name: one that every mesh has names nobody.
        require(!strict || *origin != LOCAL, "logs.checkpoint.origin", "a name of your own under STRICT");
        let entries = (1..=1_000_000).contains(&self.checkpoint.every_entries);
        require(entries, "logs.checkpoint.every_entries", "1 to 1 000 000");
        let seconds = (1..=86_400).contains(&self.checkpoint.every_seconds);
        require(seconds, "logs.checkpoint.every_seconds", "1 to 86 400");
        let keys = &self.checkpoint.witness_keys;
        let known = keys.len() <= 16 && keys.iter().all(|key| NoteKey::parse(key).is_some());
        require(known, "logs.checkpoint.witness_keys", "at most 16 keys of the form <name>+<hash>+<base64>");
        let days = (1..=36_500).contains(&self.payload.retention_days);
        require(days, "logs.payload.retention_days", "1 to 36 500");
        let days = (1..=36_500).contains(&self.archive.after_days);
        require(days, "logs.archive.after_days", "1 to 36 500");
        let quiet = (5..=3_600).contains(&self.otlp.quiet_seconds);
        require(quiet, "logs.otlp.quiet_seconds", "5 to 3 600");
        require((1..=720).contains(&self.replay.key_h), "logs.replay.key_h", "1 to 720");
        let failed = (1..=86_400).contains(&self.replay.failed_key_s);
        require(failed, "logs.replay.failed_key_s", "1 to 86 400");
        require((1..=100).contains(&self.export.parallel), "logs.export.parallel", "1 to 100");
        if problems.is_empty() { Ok(()) } else { Err(BootError::Config(problems)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mesh under STRICT says whose checkpoints it signs; another one may leave it to the default.
    #[test]
    fn strict_wants_an_origin() {
        let refused = |config: &Config, strict| match config.check(strict) {
            Err(BootError::Config(problems)) => problems.iter().map(|p| p.key.clone()).collect(),
            _ => Vec::new(),
        };
        let mut config = Config::default();
        assert_eq!(refused(&config, true), ["logs.checkpoint.origin"]);
        assert!(refused(&config, false).is_empty());
        config.checkpoint.origin = "audit.example".to_owned();
        assert!(refused(&config, true).is_empty());
    }
}
