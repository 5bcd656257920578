//! Settings under `logs.…`.

use std::path::PathBuf;

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
    /// The folder for keys that are made here. Default: the data folder of the process.
    pub data_dir: Option<PathBuf>,
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
