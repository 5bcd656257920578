//! The stages, and what their finding comes to.

use runspine_types::Micros;

use super::{
    After, Alert, AlertMode, AlertResult, AlertSettings, AlertSeverity, BURST, BURST_MS, Decision, HOUR_RATE,
    History, KEY_RATE, SAME_MS, SILENCE_MS, TYPE_RATE, UNRESOLVED, cooldown_ms,
};

impl Decision {
    /// Decides about an alert.
    #[must_use]
    pub fn of(
        alert: &Alert,
        settings: &AlertSettings,
        observe_only: bool,
        history: &History,
        now: Micros,
    ) -> Self {
        let mode = settings.mode_in(observe_only);
        let finding = if settings.wants(alert) {
            let stages = Stages { alert, settings, mode, history, now };
            stages.first().unwrap_or(AlertResult::Allowed)
        } else {
            AlertResult::NotWanted
        };
        let result = match (finding, mode) {
            (AlertResult::Allowed | AlertResult::NotWanted, _) => finding,
            (_, AlertMode::Monitor) => AlertResult::Allowed,
            (_, AlertMode::Warn) => AlertResult::Warned,
            (_, AlertMode::Enforce | AlertMode::Aggregate) => finding,
        };
        let count = if result.goes_out() { history.pending.saturating_add(1) } else { 0 };
        Self { finding, result, mode, count, after: after(alert, finding, result, history, now) }
    }
}

struct Stages<'a> {
    alert: &'a Alert,
    settings: &'a AlertSettings,
    mode: AlertMode,
    history: &'a History,
    now: Micros,
}

impl Stages<'_> {
    /// The finding of the first stage that objects. What is CRITICAL passes all but the first.
    fn first(&self) -> Option<AlertResult> {
        let h = self.history;
        let objects = |objects: bool, finding| objects.then_some(finding);
        let duplicate = objects(self.is_within(h.same_at, SAME_MS), AlertResult::Duplicate);
        if self.alert.severity == AlertSeverity::Critical {
            return duplicate;
        }
        let cooldown = self.is_within(h.domain_at, cooldown_ms(&self.alert.domain));
        let of_type = if self.mode == AlertMode::Aggregate { 1 } else { TYPE_RATE };
        duplicate
            .or(objects(self.is_too_much_of_a_run(), AlertResult::RunCeiling))
            .or(objects(cooldown, AlertResult::Cooldown))
            .or(objects(h.arrived >= KEY_RATE, AlertResult::RateLimited))
            .or(objects(self.is_silent(), AlertResult::Suppressed))
            .or(objects(h.of_type >= of_type, AlertResult::Aggregated))
            .or(objects(h.cooling_until.is_some_and(|until| self.now < until), AlertResult::CoolingDown))
            .or(objects(h.hour >= HOUR_RATE, AlertResult::TenantRateLimit))
    }

    fn is_too_much_of_a_run(&self) -> bool {
        let interval_ms = i64::from(self.settings.min_interval_s) * 1_000;
        let soon = self.is_within(self.history.run_at, interval_ms);
        !self.alert.run_id.is_empty() && (soon || self.history.run_count >= self.settings.max_per_run)
    }

    /// A key that nobody does anything about is heard of every 300 s; that it is over, at once.
    fn is_silent(&self) -> bool {
        let ignored = self.history.unresolved >= UNRESOLVED && !self.alert.resolves;
        ignored && self.is_within(self.history.key_at, SILENCE_MS)
    }

    fn is_within(&self, at: Option<Micros>, ms: i64) -> bool {
        at.is_some_and(|at| self.now.millis_since(at) < ms)
    }
}

fn after(alert: &Alert, finding: AlertResult, result: AlertResult, history: &History, now: Micros) -> After {
    let counts = finding == AlertResult::Allowed && alert.severity != AlertSeverity::Critical;
    let one = u32::from(counts);
    let still_cooling = history.cooling_until.filter(|until| now < *until);
    let full = counts && history.burst.saturating_add(1) >= BURST;
    After {
        counts,
        run_count: if alert.run_id.is_empty() { 0 } else { history.run_count.saturating_add(one) },
        key_at: if counts { Some(now) } else { history.key_at },
        unresolved: if alert.resolves { 0 } else { history.unresolved.saturating_add(one) },
        cooling_until: if full { Some(now.plus_millis(BURST_MS)) } else { still_cooling },
        pending: match result {
            AlertResult::NotWanted => history.pending,
            _ if result.goes_out() => 0,
            _ => history.pending.saturating_add(1),
        },
    }
}
