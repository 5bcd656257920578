//! Settings under `controls.…`.

mod guardrails;

pub use guardrails::Guardrails;
use runspine_boot::{BootError, ConfigProblem};
use runspine_controls_domain::costsim::CostSimSettings;
use serde::{Deserialize, Serialize};

/// Settings of the service; the defaults are the specified ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often lapsed leases are looked for, milliseconds. 100 to 5,000, default 500: a hold is gone 10 s after its
    /// lease lapsed, whatever happens.
    pub sweep_ms: u64,
    /// What is wanted of the candidate for the next cost model while a tenant has set nothing.
    pub costsim: CostSimConfig,
    /// What a tenant's guardrails are given when it is seen the first time. Only an operator sets one looser later.
    pub guardrails: Guardrails,
}

impl Default for Config {
    fn default() -> Self {
        Self { sweep_ms: 500, costsim: CostSimConfig::default(), guardrails: Guardrails::default() }
    }
}

/// Settings under `controls.costsim.…`: ranges and meaning are those of `CostSimSettings` in the contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct CostSimConfig {
    pub sandbox_enabled: bool,
    pub drift_permille: u32,
    pub drift_warning_permille: u32,
    pub failure_threshold: u32,
    pub schema_error_threshold: u32,
    pub auto_disable: bool,
    pub auto_recover: bool,
    pub disable_ttl_hours: u32,
    pub canary_enabled: bool,
    pub canary_samples: u32,
    pub canary_parallel: u32,
    pub canary_timeout_s: u32,
    pub outlier_drift_permille: u32,
    pub max_outlier_permille: u32,
    pub kl_divergence_max_permille: u32,
    pub max_major_drift_permille: u32,
    pub provenance_enabled: bool,
    pub provenance_compress: bool,
    pub adapter_version: String,
    pub model_version: String,
}

impl Default for CostSimConfig {
    fn default() -> Self {
        let usual = CostSimSettings::default();
        Self {
            sandbox_enabled: usual.sandbox_enabled,
            drift_permille: usual.drift_permille,
            drift_warning_permille: usual.drift_warning_permille,
            failure_threshold: usual.failure_threshold,
            schema_error_threshold: usual.schema_error_threshold,
            auto_disable: usual.auto_disable,
            auto_recover: usual.auto_recover,
            disable_ttl_hours: usual.disable_ttl_hours,
            canary_enabled: usual.canary_enabled,
            canary_samples: usual.canary_samples,
            canary_parallel: usual.canary_parallel,
            canary_timeout_s: usual.canary_timeout_s,
            outlier_drift_permille: usual.outlier_drift_permille,
            max_outlier_permille: usual.max_outlier_permille,
            kl_divergence_max_permille: usual.kl_divergence_max_permille,
            max_major_drift_permille: usual.max_major_drift_permille,
            provenance_enabled: usual.provenance_enabled,
            provenance_compress: usual.provenance_compress,
            adapter_version: usual.adapter_version,
            model_version: usual.model_version,
        }
    }
}

impl From<CostSimConfig> for CostSimSettings {
    fn from(config: CostSimConfig) -> Self {
        Self {
            sandbox_enabled: config.sandbox_enabled,
            drift_permille: config.drift_permille,
            drift_warning_permille: config.drift_warning_permille,
            failure_threshold: config.failure_threshold,
            schema_error_threshold: config.schema_error_threshold,
            auto_disable: config.auto_disable,
            auto_recover: config.auto_recover,
            disable_ttl_hours: config.disable_ttl_hours,
            canary_enabled: config.canary_enabled,
            canary_samples: config.canary_samples,
            canary_parallel: config.canary_parallel,
            canary_timeout_s: config.canary_timeout_s,
            outlier_drift_permille: config.outlier_drift_permille,
            max_outlier_permille: config.max_outlier_permille,
            kl_divergence_max_permille: config.kl_divergence_max_permille,
            max_major_drift_permille: config.max_major_drift_permille,
            provenance_enabled: config.provenance_enabled,
            provenance_compress: config.provenance_compress,
            adapter_version: config.adapter_version,
            model_version: config.model_version,
        }
    }
}

impl Config {
    /// That every setting is in its range.
    ///
    /// # Errors
    /// With everything that is not.
    pub fn check(&self) -> Result<(), BootError> {
        let mut wrong: Vec<(String, String)> = Vec::new();
        if !(100..=5_000).contains(&self.sweep_ms) {
            wrong.push(("controls.sweep_ms".to_owned(), "must be 100 to 5,000".to_owned()));
        }
        let costsim = CostSimSettings::from(self.costsim.clone()).wrong().into_iter();
        wrong.extend(costsim.map(|(field, what)| (format!("controls.costsim.{field}"), what.to_owned())));
        let guardrails = self.guardrails.wrong().into_iter();
        wrong.extend(guardrails.map(|(field, what)| (format!("controls.guardrails.{field}"), what)));
        if wrong.is_empty() {
            return Ok(());
        }
        let problem = |(key, what): (String, String)| ConfigProblem::new(&key, "CONFIG_OUT_OF_RANGE", what);
        Err(BootError::Config(wrong.into_iter().map(problem).collect()))
    }
}
