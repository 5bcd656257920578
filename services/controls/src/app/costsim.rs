//! The candidate for the next cost model: its settings, which are the rules of its breaker, and whether it may be used.

use contracts_controls::v1 as pb;
use runspine_controls_domain::{
    breaker::{BreakerKind, BreakerResult, BreakerState, BreakerTarget, Report, Rules},
    costsim::{CANDIDATE, CostSimSettings, Standing},
};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_types::Micros;

use super::{
    App,
    breakers::{advance, breaker_to},
    limits::Keyed,
    settings::{self, Change, Settings},
};
use crate::{
    metrics,
    store::{
        breakers::{self, BreakerName, BreakerRow},
        settings::Table,
    },
};

impl App {
    /// What a tenant wants of the candidate.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn costsim_settings(&self, tenant: &str) -> Result<pb::CostSimSettings, Fault> {
        let kept = settings::in_force(self.db.read(), tenant, settings_to(&self.costsim)).await?;
        // What was kept before a setting existed has its default.
        let whole = settings_to(&settings_from(&kept, &self.costsim));
        Ok(whole.versioned(kept.version))
    }

    /// Changes it. An open breaker recovers by itself from now on, or does not.
    ///
    /// # Errors
    /// `VERSION_CONFLICT`, `IDEMPOTENCY_MISMATCH`.
    pub async fn set_costsim_settings(
        &self,
        keyed: Keyed,
        change: Change<pb::CostSimSettings>,
    ) -> Result<pb::SetCostSimSettingsResponse, Fault> {
        let (now, defaults) = (self.clock.now(), settings_to(&self.costsim));
        self.db.write("set_costsim_settings", move |tx| Box::pin(set(tx, keyed, defaults, change, now))).await
    }

    /// Whether the candidate may be compared and used, and what keeps it from it.
    ///
    /// # Errors
    /// When the store fails: what can't be read is never "it may".
    pub async fn costsim_status(&self, tenant: &str) -> Result<pb::GetCostSimStatusResponse, Fault> {
        let settings = self.costsim_settings(tenant).await?;
        let (read, now) = (self.db.read(), self.clock.now());
        let by_drift = breakers::peek(read, &candidate(tenant, BreakerKind::Drift)).await?;
        let by_order = breakers::peek(read, &candidate(tenant, BreakerKind::Manual)).await?;
        let state = |row: &Option<BreakerRow>| match row {
            Some(row) => Ok::<_, Fault>(row.subject()?.state(now)),
            None => Ok(BreakerState::Closed),
        };
        let standing = Standing::of(settings.sandbox_enabled, state(&by_drift)?, state(&by_order)?);
        let by_drift =
            by_drift.unwrap_or_else(|| BreakerRow::unknown(&candidate(tenant, BreakerKind::Drift)));
        Ok(pb::GetCostSimStatusResponse {
            simulation_permitted: standing.simulation,
            candidate_permitted: standing.candidate,
            obstacles: standing.obstacles.iter().map(|o| o.code()).collect(),
            breaker: Some(breaker_to(&by_drift, now)?),
            ordered: by_order.map(|row| breaker_to(&row, now)).transpose()?,
            settings_version: settings.version,
        })
    }
}

fn candidate(tenant: &str, kind: BreakerKind) -> BreakerName {
    BreakerName {
        tenant_id: tenant.to_owned(),
        kind,
        target: BreakerTarget::Feature,
        target_id: CANDIDATE.to_owned(),
    }
}

/// Counts a report about the candidate; of other breakers nothing.
pub(super) fn counted(name: &BreakerName, report: &Report) {
    if *name != candidate(&name.tenant_id, BreakerKind::Drift) {
        return;
    }
    if let Some(drift) = report.drift_permille {
        metrics::COSTSIM_DRIFT.record(f64::from(drift), &[]);
    }
    if report.result == BreakerResult::SchemaError {
        metrics::COSTSIM_SCHEMA_ERRORS.add(u64::from(report.samples), &[]);
    }
}

/// The rules of a breaker: those of the candidate are the tenant's.
///
/// # Errors
/// When the store fails.
pub(super) async fn rules_of(
    tx: &mut Tx,
    name: &BreakerName,
    defaults: &CostSimSettings,
) -> Result<Rules, Fault> {
    if *name != candidate(&name.tenant_id, BreakerKind::Drift) {
        return Ok(Rules::default());
    }
    let kept = settings::locked(tx, &name.tenant_id, settings_to(defaults)).await?;
    Ok(settings_from(&kept, defaults).rules())
}

async fn set(
    tx: &mut Tx,
    keyed: Keyed,
    defaults: pb::CostSimSettings,
    change: Change<pb::CostSimSettings>,
    now: Micros,
) -> Result<pb::SetCostSimSettingsResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let settings = settings::change(tx, &keyed.caller, defaults, change, now).await?;
    let name = candidate(&keyed.caller.tenant_id, BreakerKind::Drift);
    if let Some(mut row) = breakers::one(tx, &name).await? {
        // What the time has brought stays as it is; only what is still open is asked about.
        let mut breaker = advance(tx, &keyed.caller, &mut row, now).await?;
        breaker.recover(settings.auto_recover);
        row.take(&breaker);
        breakers::save(tx, &row).await?;
    }
    let response = pb::SetCostSimSettingsResponse { settings: Some(settings) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

impl Settings for pb::CostSimSettings {
    const TABLE: Table = Table::CostSim;
    const ENTITY: &'static str = "costsim_settings";
    const CHANGED: &'static str = "CostSimSettingsChanged";
    type Changed = pb::CostSimSettingsChanged;

    fn versioned(self, version: u64) -> Self {
        Self { version, ..self }
    }

    fn json(&self) -> String {
        serde_json::json!({
            "auto_disable": self.auto_disable,
            "auto_recover": self.auto_recover,
            "adapter_version": self.adapter_version,
            "canary_enabled": self.canary_enabled,
            "canary_samples": self.canary_samples,
            "canary_parallel": self.canary_parallel,
            "canary_timeout_s": self.canary_timeout_s,
            "disable_ttl_hours": self.disable_ttl_hours,
            "drift_permille": self.drift_permille,
            "drift_warning_permille": self.drift_warning_permille,
            "failure_threshold": self.failure_threshold,
            "kl_divergence_max_permille": self.kl_divergence_max_permille,
            "max_major_drift_permille": self.max_major_drift_permille,
            "max_outlier_permille": self.max_outlier_permille,
            "model_version": self.model_version,
            "outlier_drift_permille": self.outlier_drift_permille,
            "provenance_compress": self.provenance_compress,
            "provenance_enabled": self.provenance_enabled,
            "sandbox_enabled": self.sandbox_enabled,
            "schema_error_threshold": self.schema_error_threshold,
            "version": self.version,
        })
        .to_string()
    }

    fn changed(self) -> pb::CostSimSettingsChanged {
        pb::CostSimSettingsChanged { settings: Some(self) }
    }
}

/// Settings as the rules want them; what is absent takes its default.
#[must_use]
pub fn settings_from(settings: &pb::CostSimSettings, defaults: &CostSimSettings) -> CostSimSettings {
    CostSimSettings {
        sandbox_enabled: settings.sandbox_enabled,
        drift_permille: settings.drift_permille,
        drift_warning_permille: settings.drift_warning_permille,
        failure_threshold: settings.failure_threshold,
        schema_error_threshold: settings.schema_error_threshold,
        auto_disable: settings.auto_disable,
        auto_recover: settings.auto_recover,
        disable_ttl_hours: settings.disable_ttl_hours,
        canary_enabled: settings.canary_enabled.unwrap_or(defaults.canary_enabled),
        canary_samples: settings.canary_samples.unwrap_or(defaults.canary_samples),
        canary_parallel: settings.canary_parallel.unwrap_or(defaults.canary_parallel),
        canary_timeout_s: settings.canary_timeout_s.unwrap_or(defaults.canary_timeout_s),
        outlier_drift_permille: settings.outlier_drift_permille.unwrap_or(defaults.outlier_drift_permille),
        max_outlier_permille: settings.max_outlier_permille.unwrap_or(defaults.max_outlier_permille),
        kl_divergence_max_permille: settings
            .kl_divergence_max_permille
            .unwrap_or(defaults.kl_divergence_max_permille),
        max_major_drift_permille: settings
            .max_major_drift_permille
            .unwrap_or(defaults.max_major_drift_permille),
        provenance_enabled: settings.provenance_enabled.unwrap_or(defaults.provenance_enabled),
        provenance_compress: settings.provenance_compress.unwrap_or(defaults.provenance_compress),
        adapter_version: settings.adapter_version.clone().unwrap_or_else(|| defaults.adapter_version.clone()),
        model_version: settings.model_version.clone().unwrap_or_else(|| defaults.model_version.clone()),
    }
}

/// Settings as they travel.
#[must_use]
pub fn settings_to(settings: &CostSimSettings) -> pb::CostSimSettings {
    pb::CostSimSettings {
        version: 0,
        sandbox_enabled: settings.sandbox_enabled,
        drift_permille: settings.drift_permille,
        drift_warning_permille: settings.drift_warning_permille,
        failure_threshold: settings.failure_threshold,
        schema_error_threshold: settings.schema_error_threshold,
        auto_disable: settings.auto_disable,
        auto_recover: settings.auto_recover,
        disable_ttl_hours: settings.disable_ttl_hours,
        canary_enabled: Some(settings.canary_enabled),
        canary_samples: Some(settings.canary_samples),
        canary_parallel: Some(settings.canary_parallel),
        canary_timeout_s: Some(settings.canary_timeout_s),
        outlier_drift_permille: Some(settings.outlier_drift_permille),
        max_outlier_permille: Some(settings.max_outlier_permille),
        kl_divergence_max_permille: Some(settings.kl_divergence_max_permille),
        max_major_drift_permille: Some(settings.max_major_drift_permille),
        provenance_enabled: Some(settings.provenance_enabled),
        provenance_compress: Some(settings.provenance_compress),
        adapter_version: Some(settings.adapter_version.clone()),
        model_version: Some(settings.model_version.clone()),
    }
}
