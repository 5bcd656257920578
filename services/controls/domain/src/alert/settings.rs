//! What a tenant wants of its alerts.

use super::{Alert, AlertChannel, AlertMode, AlertSeverity};

/// The settings of a tenant; the defaults are the specified ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertSettings {
    /// Whether it is told that a limit is near.
    pub near: bool,
    /// From where on a limit is near, per mille.
    pub near_permille: u32,
    /// Whether it is told that a limit was reached.
    pub breaches: bool,
    /// Where its alerts go.
    pub channels: Vec<AlertChannel>,
    /// The least time between two alerts of one type about one run, seconds.
    pub min_interval_s: u32,
    /// Alerts of one type that a run may have.
    pub max_per_run: u32,
    /// What comes of an objection.
    pub mode: AlertMode,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            near: true,
            near_permille: 800,
            breaches: true,
            channels: vec![AlertChannel::Ui],
            min_interval_s: 60,
            max_per_run: 10,
            mode: AlertMode::Enforce,
        }
    }
}

/// Where a limit is reached, per mille.
const REACHED: u32 = 1_000;

impl AlertSettings {
    /// What is wrong with them: field and why.
    #[must_use]
    pub fn wrong(&self) -> Vec<(&'static str, &'static str)> {
        let mut channels = self.channels.clone();
        channels.sort_unstable();
        channels.dedup();
        let all = [
            ((1..REACHED).contains(&self.near_permille), "near_permille", "must be 1 to 999"),
            (!channels.is_empty(), "channels", "must name one or more"),
            (channels.len() == self.channels.len(), "channels", "must name each once"),
            ((1..=3_600).contains(&self.min_interval_s), "min_interval_s", "must be 1 to 3,600"),
            ((1..=1_000).contains(&self.max_per_run), "max_per_run", "must be 1 to 1,000"),
        ];
        all.into_iter().filter(|(holds, ..)| !holds).map(|(_, field, what)| (field, what)).collect()
    }

    /// Whether the tenant wants alerts of this kind. What is CRITICAL is not asked about.
    #[must_use]
    pub fn wants(&self, alert: &Alert) -> bool {
        match alert.proximity_permille {
            _ if alert.severity == AlertSeverity::Critical => true,
            None => true,
            Some(reached) if reached >= REACHED => self.breaches,
            Some(near) => self.near && near >= self.near_permille,
        }
    }

    /// The mode under a governance profile: what only observes drops nothing.
    #[must_use]
    pub fn mode_in(&self, observe_only: bool) -> AlertMode {
        if observe_only { AlertMode::Monitor } else { self.mode }
    }
}
