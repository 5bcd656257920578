//! Alerts are decided about one after the other of a tenant: each decision is a row that the next one begins with.

use contracts_common::common::v1::GovernanceProfile;
use contracts_controls::v1 as pb;
use runspine_controls_domain::alert::{Alert, AlertChannel, AlertMode, AlertResult, AlertSettings, Decision};
use runspine_db::Tx;
use runspine_errors::Fault;
use runspine_types::Micros;

use super::{
    App, defect,
    limits::Keyed,
    settings::{self, Change, Settings},
};
use crate::{
    metrics,
    store::{alerts as store, settings::Table},
};

impl App {
    /// What a tenant wants of its alerts.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn alert_settings(&self, tenant: &str) -> Result<pb::AlertSettings, Fault> {
        settings::in_force(self.db.read(), tenant, defaults()).await
    }

    /// Decides about an alert.
    ///
    /// # Errors
    /// `IDEMPOTENCY_MISMATCH`.
    pub async fn decide_alert(&self, keyed: Keyed, alert: Alert) -> Result<pb::DecideAlertResponse, Fault> {
        let now = self.clock.now();
        let (answer, decided) =
            self.db.write("decide_alert", move |tx| Box::pin(decide(tx, keyed, alert, now))).await?;
        if let Some(result) = decided {
            metrics::ALERT_DECISIONS.increment(&[("result", result.name())]);
        }
        Ok(answer)
    }

    /// Changes the settings of a tenant's alerts.
    ///
    /// # Errors
    /// `VERSION_CONFLICT`, `IDEMPOTENCY_MISMATCH`.
    pub async fn set_alert_settings(
        &self,
        keyed: Keyed,
        change: Change<pb::AlertSettings>,
    ) -> Result<pb::SetAlertSettingsResponse, Fault> {
        let now = self.clock.now();
        self.db.write("set_alert_settings", move |tx| Box::pin(set(tx, keyed, change, now))).await
    }
}

/// The answer, and the result when it was decided now.
async fn decide(
    tx: &mut Tx,
    keyed: Keyed,
    alert: Alert,
    now: Micros,
) -> Result<(pb::DecideAlertResponse, Option<AlertResult>), Fault> {
    let tenant = keyed.caller.tenant_id.as_str();
    let kept = settings::locked(tx, tenant, defaults()).await?;
    // After the lock: whoever asked first at the same time has answered by now.
    if let Some(first) = keyed.first(tx).await? {
        return Ok((first, None));
    }
    let settings = settings_from(&kept).ok_or_else(|| defect("kept settings of alerts make no sense"))?;
    let observes = keyed.caller.profile == GovernanceProfile::ObserveOnly as i32;
    let history = store::history(tx, tenant, &alert, now).await?;
    let decision = Decision::of(&alert, &settings, observes, &history, now);
    store::add(tx, (tenant, &keyed.key), &alert, &decision, now).await?;
    let response = pb::DecideAlertResponse {
        result: decision.result.code(),
        finding: decision.finding.code(),
        mode: decision.mode.code(),
        count: decision.count,
        channels: if decision.result.goes_out() { kept.channels } else { Vec::new() },
    };
    keyed.keep(tx, &response, now).await?;
    Ok((response, Some(decision.result)))
}

async fn set(
    tx: &mut Tx,
    keyed: Keyed,
    change: Change<pb::AlertSettings>,
    now: Micros,
) -> Result<pb::SetAlertSettingsResponse, Fault> {
    if let Some(first) = keyed.first(tx).await? {
        return Ok(first);
    }
    let settings = settings::change(tx, &keyed.caller, defaults(), change, now).await?;
    let response = pb::SetAlertSettingsResponse { settings: Some(settings) };
    keyed.keep(tx, &response, now).await?;
    Ok(response)
}

impl Settings for pb::AlertSettings {
    const TABLE: Table = Table::Alerts;
    const ENTITY: &'static str = "alert_settings";
    const CHANGED: &'static str = "AlertSettingsChanged";
    type Changed = pb::AlertSettingsChanged;

    fn versioned(self, version: u64) -> Self {
        Self { version, ..self }
    }

    fn json(&self) -> String {
        let channels = self.channels.iter().filter_map(|c| AlertChannel::from_code(*c));
        serde_json::json!({
            "breaches": self.breaches,
            "channels": channels.map(AlertChannel::name).collect::<Vec<_>>(),
            "max_per_run": self.max_per_run,
            "min_interval_s": self.min_interval_s,
            "mode": AlertMode::from_code(self.mode).map(AlertMode::name),
            "near": self.near,
            "near_permille": self.near_permille,
            "version": self.version,
        })
        .to_string()
    }

    fn changed(self) -> pb::AlertSettingsChanged {
        pb::AlertSettingsChanged { settings: Some(self) }
    }
}

/// Settings as the rules want them; `None` when a word is missing or unknown.
#[must_use]
pub fn settings_from(settings: &pb::AlertSettings) -> Option<AlertSettings> {
    Some(AlertSettings {
        near: settings.near,
        near_permille: settings.near_permille,
        breaches: settings.breaches,
        channels: settings.channels.iter().map(|c| AlertChannel::from_code(*c)).collect::<Option<_>>()?,
        min_interval_s: settings.min_interval_s,
        max_per_run: settings.max_per_run,
        mode: AlertMode::from_code(settings.mode)?,
    })
}

/// What is in force while nobody has set anything.
fn defaults() -> pb::AlertSettings {
    let settings = AlertSettings::default();
    pb::AlertSettings {
        version: 0,
        near: settings.near,
        near_permille: settings.near_permille,
        breaches: settings.breaches,
        channels: settings.channels.iter().map(|c| c.code()).collect(),
        min_interval_s: settings.min_interval_s,
        max_per_run: settings.max_per_run,
        mode: settings.mode.code(),
    }
}
