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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// Whether canaries are run.
    pub canary_enabled: bool,
    /// Steps that one canary compares.
    pub canary_samples: u32,
    /// Comparisons of a canary at one time.
    pub canary_parallel: u32,
    /// After this a canary is given up, seconds.
    pub canary_timeout_s: u32,
    /// Above this a comparison is an outlier, per mille.
    pub outlier_drift_permille: u32,
    /// Outliers that a canary may have, per mille of its samples.
    pub max_outlier_permille: u32,
    /// Divergence that the costs of a canary may have, per mille.
    pub kl_divergence_max_permille: u32,
    /// Comparisons of MAJOR drift or worse that a canary may have, per mille of its samples.
    pub max_major_drift_permille: u32,
    /// Whether what a comparison was made of is kept.
    pub provenance_enabled: bool,
    /// Whether it is kept compressed.
    pub provenance_compress: bool,
    /// Version of what turns steps into inputs of the model.
    pub adapter_version: String,
    /// Version of the candidate.
    pub model_version: String,
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
            canary_enabled: true,
            canary_samples: 100,
            canary_parallel: 4,
            canary_timeout_s: 300,
            outlier_drift_permille: 500,
            max_outlier_permille: 50,
            kl_divergence_max_permille: 200,
            max_major_drift_permille: 100,
            provenance_enabled: true,
            provenance_compress: true,
            adapter_version: "2.0.0".to_owned(),
            model_version: "2.0.0".to_owned(),
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
        let all = all.into_iter().chain(self.of_canaries());
        all.filter(|(holds, ..)| !holds).map(|(_, field, what)| (field, what)).collect()
    }

    fn of_canaries(&self) -> [(bool, &'static str, &'static str); 9] {
        let (version, share) = ("must be three numbers with dots", "must be 0 to 1,000");
        [
            ((1..=100_000).contains(&self.canary_samples), "canary_samples", "must be 1 to 100,000"),
            ((1..=64).contains(&self.canary_parallel), "canary_parallel", "must be 1 to 64"),
            ((1..=3_600).contains(&self.canary_timeout_s), "canary_timeout_s", "must be 1 to 3,600"),
            (
                (1..=10_000).contains(&self.outlier_drift_permille),
                "outlier_drift_permille",
                "must be 1 to 10,000",
            ),
            (self.max_outlier_permille <= 1_000, "max_outlier_permille", share),
            (
                (1..=10_000).contains(&self.kl_divergence_max_permille),
                "kl_divergence_max_permille",
                "must be 1 to 10,000",
            ),
            (self.max_major_drift_permille <= 1_000, "max_major_drift_permille", share),
            (is_version(&self.adapter_version), "adapter_version", version),
            (is_version(&self.model_version), "model_version", version),
        ]
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

/// Whether a text is three numbers with dots.
fn is_version(text: &str) -> bool {
    let number = |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u32>().is_ok();
    text.split('.').count() == 3 && text.split('.').all(number)
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
            (CostSimSettings { canary_samples: 0, ..usual() }, vec!["canary_samples"]),
            (CostSimSettings { canary_parallel: 65, ..usual() }, vec!["canary_parallel"]),
            (CostSimSettings { canary_timeout_s: 3_601, ..usual() }, vec!["canary_timeout_s"]),
            (CostSimSettings { outlier_drift_permille: 0, ..usual() }, vec!["outlier_drift_permille"]),
            (CostSimSettings { max_outlier_permille: 1_001, ..usual() }, vec!["max_outlier_permille"]),
            (CostSimSettings { max_outlier_permille: 0, max_major_drift_permille: 0, ..usual() }, vec![]),
            (
                CostSimSettings { kl_divergence_max_permille: 10_001, ..usual() },
                vec!["kl_divergence_max_permille"],
            ),
            (
                CostSimSettings { max_major_drift_permille: 1_001, ..usual() },
                vec!["max_major_drift_permille"],
            ),
            (CostSimSettings { adapter_version: "2.0".into(), ..usual() }, vec!["adapter_version"]),
            (CostSimSettings { model_version: "2.+1.0".into(), ..usual() }, vec!["model_version"]),
            (CostSimSettings { model_version: "10.2.33".into(), ..usual() }, vec![]),
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
