//! Signals: what controls says of a limit before, and when, it is reached.

use crate::{
    limit::permille,
    threshold::{Bound, Effective, Level, Used, level},
    words::{Category, Unit, words},
};

words! {
    /// What kind of risk a signal is about.
    SignalType {
        /// Cost.
        CostRisk = 1 "COST_RISK",
        /// Tokens.
        TokenRisk = 2 "TOKEN_RISK",
        /// Time.
        TimeRisk = 3 "TIME_RISK",
        /// Steps and requests.
        StepRisk = 4 "STEP_RISK",
        /// A rate or a number at one time.
        RateRisk = 5 "RATE_RISK",
        /// Failures.
        Reliability = 6 "RELIABILITY",
        /// An envelope passed its warning.
        BudgetWarning = 7 "BUDGET_WARNING",
        /// An envelope gives nothing more.
        BudgetExhausted = 8 "BUDGET_EXHAUSTED",
    }
}

words! {
    /// How far it has come. It only rises.
    RiskLevel {
        /// A warning was passed.
        NearThreshold = 1 "NEAR_THRESHOLD",
        /// A limit was reached that does not block.
        AtRisk = 2 "AT_RISK",
        /// A limit was reached that blocks, or nothing funds what was used.
        Violated = 3 "VIOLATED",
    }
}

/// The risk that a limit is about.
#[must_use]
pub fn type_of(category: Category, unit: Unit) -> SignalType {
    match (category, unit) {
        (Category::Rate | Category::Concurrency, _) => SignalType::RateRisk,
        (_, Unit::CostMicrousd) => SignalType::CostRisk,
        (_, Unit::TokensInput | Unit::TokensOutput | Unit::TokensTotal) => SignalType::TokenRisk,
        (_, Unit::TimeMs) => SignalType::TimeRisk,
        (_, Unit::Requests | Unit::Runs | Unit::Steps) => SignalType::StepRisk,
    }
}

/// A threshold that a run has come near to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neared {
    /// The bound.
    pub bound: Bound,
    /// Near or reached.
    pub level: Level,
    /// The limit that states it; none: the default.
    pub source: Option<String>,
    /// What the attempt has used.
    pub actual: i64,
    /// The threshold.
    pub limit_value: i64,
    /// `actual` × 1,000 / `limit_value`.
    pub permille: u32,
}

/// The thresholds that an attempt has come near to or reached.
#[must_use]
pub fn neared(effective: &Effective, used: &Used) -> Vec<Neared> {
    let near = effective.near_permille.value;
    let rows = effective.bounds.iter().filter_map(|(bound, value)| {
        let actual = used.of(*bound);
        let level = level(actual, value.value, near);
        (level != Level::Ok).then(|| Neared {
            bound: *bound,
            level,
            source: value.source.clone(),
            actual,
            limit_value: value.value,
            permille: permille(actual, value.value),
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_nears_its_thresholds_one_by_one() {
        let effective = Effective::merge([]);
        let used = |steps: i64, tokens: i64| Used { steps, tokens, ..Used::default() };
        let told = |used: &Used| {
            neared(&effective, used).into_iter().map(|n| (n.bound, n.level, n.permille)).collect::<Vec<_>>()
        };
        assert_eq!(told(&used(159, 0)), []);
        assert_eq!(told(&used(160, 0)), [(Bound::Steps, Level::Near, 800)]);
        assert_eq!(
            told(&used(199, 8_192)),
            [(Bound::Tokens, Level::Reached, 1_000), (Bound::Steps, Level::Near, 995)]
        );
        assert_eq!(told(&used(240, 0)), [(Bound::Steps, Level::Reached, 1_200)]);
    }

    #[test]
    fn every_limit_is_about_one_risk() {
        assert_eq!(type_of(Category::Budget, Unit::CostMicrousd), SignalType::CostRisk);
        assert_eq!(type_of(Category::Rate, Unit::TokensTotal), SignalType::RateRisk);
        assert_eq!(type_of(Category::Threshold, Unit::TimeMs), SignalType::TimeRisk);
        assert_eq!(type_of(Category::Budget, Unit::Requests), SignalType::StepRisk);
        assert!(RiskLevel::NearThreshold < RiskLevel::AtRisk && RiskLevel::AtRisk < RiskLevel::Violated);
    }
}
