//! The candidate for the next cost model: what disables it, and whether it may be compared and used.

use crate::{
    breaker::{BreakerState, Rules},
    words::words,
};

/// The feature that its comparisons report about.
pub const CANDIDATE: &str = "cost_model_candidate";
/// The longest that a breaker of drift is open, hours.
const MOST_HOURS: u32 = 168;

words! {
    /// What keeps the candidate from being used.
    Obstacle {
        /// The settings say so.
        SandboxOff = 1 "SANDBOX_OFF",
        /// Its comparisons were bad.
        BreakerOpen = 2 "BREAKER_OPEN",
        /// It is tried out: it is compared, and not relied upon.
        TriedOut = 3 "TRIED_OUT",
        /// Somebody has ordered so.
        Order = 4 "ORDER",
    }
}

/// What a tenant wants of the candidate; the defaults are the specified ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CostSimSettings {
    /// Whether it is compared and used at all.
    pub sandbox_enabled: bool,
    /// Above this a comparison is bad, per mille.
    pub drift_permille: u32,
    /// Above this a comparison warns, per mille.
    pub drift_warning_permille: u32,
    /// Bad comparisons in a row that disable it.
    pub failure_threshold: u32,
    /// Answers of a wrong form within 24 h that disable it.
    pub schema_error_threshold: u32,
    /// Whether comparisons disable it.
    pub auto_disable: bool,
    /// Whether it is tried out by itself when its time is over.
    pub auto_recover: bool,
    /// How long it is disabled at first, hours.
    pub disable_ttl_hours: u32,
}

impl Default for CostSimSettings {
    fn default() -> Self {
        Self {
            sandbox_enabled: false,
            drift_permille: 200,
            drift_warning_permille: 150,
            failure_threshold: 3,
            schema_error_threshold: 5,
            auto_disable: true,
            auto_recover: true,
            disable_ttl_hours: 24,
        }
    }
}

impl CostSimSettings {
    /// What is wrong with them: field and why.
    #[must_use]
    pub fn wrong(&self) -> Vec<(&'static str, &'static str)> {
        let below = self.drift_warning_permille < self.drift_permille;
        let all = [
            ((1..=1_000).contains(&self.drift_permille), "drift_permille", "must be 1 to 1,000"),
            (below, "drift_warning_permille", "must be below drift_permille"),
            ((1..=100).contains(&self.failure_threshold), "failure_threshold", "must be 1 to 100"),
            (
                (1..=1_000).contains(&self.schema_error_threshold),
                "schema_error_threshold",
                "must be 1 to 1,000",
            ),
            ((1..=MOST_HOURS).contains(&self.disable_ttl_hours), "disable_ttl_hours", "must be 1 to 168"),
        ];
        all.into_iter().filter(|(holds, ..)| !holds).map(|(_, field, what)| (field, what)).collect()
    }

    /// The rules of the candidate's breaker.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            drifts: self.failure_threshold,
            drift_permille: self.drift_permille,
            drift_warning_permille: self.drift_warning_permille,
            schema_errors: self.schema_error_threshold,
            drift_open_ms: i64::from(self.disable_ttl_hours) * 3_600_000,
            opens: self.auto_disable,
            recovers: self.auto_recover,
            ..Rules::default()
        }
    }
}

/// Whether the candidate may be compared and used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether comparisons may be made.
    pub simulation: bool,
    /// Whether what it says may be used.
    pub candidate: bool,
    /// What keeps it from being used.
    pub obstacles: Vec<Obstacle>,
}

impl Standing {
    /// Under the settings, with its breaker and that of orders in these states.
    #[must_use]
    pub fn of(sandbox_enabled: bool, by_drift: BreakerState, by_order: BreakerState) -> Self {
        let all = [
            (!sandbox_enabled, Obstacle::SandboxOff),
            (by_drift == BreakerState::Open, Obstacle::BreakerOpen),
            (by_drift == BreakerState::HalfOpen, Obstacle::TriedOut),
            (by_order == BreakerState::Open, Obstacle::Order),
        ];
        let obstacles: Vec<Obstacle> = all.into_iter().filter(|(holds, _)| *holds).map(|(_, o)| o).collect();
        // Trials are comparisons: they are what closes the breaker again.
        let simulation = obstacles.iter().all(|o| *o == Obstacle::TriedOut);
        Self { simulation, candidate: obstacles.is_empty(), obstacles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_rules_of_every_feature() {
        assert_eq!(CostSimSettings::default().rules(), Rules::default());
        assert_eq!(CostSimSettings::default().wrong(), []);
    }

    #[test]
    fn each_setting_has_its_range() {
        let usual = CostSimSettings::default;
        let table = [
            (
                CostSimSettings { drift_permille: 0, ..usual() },
                vec!["drift_permille", "drift_warning_permille"],
            ),
            (CostSimSettings { drift_permille: 1_001, ..usual() }, vec!["drift_permille"]),
            (CostSimSettings { drift_warning_permille: 200, ..usual() }, vec!["drift_warning_permille"]),
            (CostSimSettings { drift_warning_permille: 199, ..usual() }, vec![]),
            (CostSimSettings { failure_threshold: 0, ..usual() }, vec!["failure_threshold"]),
            (CostSimSettings { failure_threshold: 101, ..usual() }, vec!["failure_threshold"]),
            (CostSimSettings { schema_error_threshold: 0, ..usual() }, vec!["schema_error_threshold"]),
            (CostSimSettings { disable_ttl_hours: 0, ..usual() }, vec!["disable_ttl_hours"]),
            (CostSimSettings { disable_ttl_hours: 169, ..usual() }, vec!["disable_ttl_hours"]),
            (CostSimSettings { disable_ttl_hours: 168, ..usual() }, vec![]),
        ];
        for (settings, expected) in table {
            let fields: Vec<&str> = settings.wrong().iter().map(|w| w.0).collect();
            assert_eq!(fields, expected, "{settings:?}");
        }
    }

    /// A16.1 over the whole product: nothing is used that is off, open, tried out or ordered away.
    #[test]
    fn the_candidate_is_used_when_nothing_stands_in_its_way() {
        use BreakerState::{Closed, HalfOpen, Open};
        for sandbox in [false, true] {
            for by_drift in [Closed, Open, HalfOpen] {
                for by_order in [Closed, Open] {
                    let standing = Standing::of(sandbox, by_drift, by_order);
                    let free = sandbox && by_order == Closed;
                    assert_eq!(standing.simulation, free && by_drift != Open, "{standing:?}");
                    assert_eq!(standing.candidate, free && by_drift == Closed, "{standing:?}");
                    assert_eq!(standing.candidate, standing.obstacles.is_empty(), "it says why");
                }
            }
        }
    }
}
