//! Where a run stands with each of its limits: told when it gets worse, and once at the end.

use std::collections::BTreeMap;

use crate::{
    limit::{Key, Limit, permille},
    threshold::{Bound, Used},
    words::{Category, Enforcement, Unit, words},
};

words! {
    /// How a run stands with a limit. The later the worse.
    Outcome {
        /// There is nothing to compare.
        Advisory = 1 "ADVISORY",
        /// Below the warning.
        Ok = 2 "OK",
        /// The warning was passed.
        NearThreshold = 3 "NEAR_THRESHOLD",
        /// An override covers the excess.
        Overridden = 4 "OVERRIDDEN",
        /// The limit was reached.
        Breach = 5 "BREACH",
    }
}

words! {
    /// What a limit compares.
    LimitType {
        /// Cost.
        Cost = 1 "COST",
        /// Input and output tokens.
        Tokens = 2 "TOKENS",
        /// Input tokens.
        InputTokens = 3 "INPUT_TOKENS",
        /// Output tokens.
        OutputTokens = 4 "OUTPUT_TOKENS",
        /// Time.
        Time = 5 "TIME",
        /// A number in a window.
        Rate = 6 "RATE",
        /// Steps, requests and runs.
        Steps = 7 "STEPS",
        /// A number at one time.
        Concurrency = 8 "CONCURRENCY",
    }
}

/// What a limit compares, from its category and unit.
#[must_use]
pub fn type_of(category: Category, unit: Unit) -> LimitType {
    match (category, unit) {
        (Category::Rate, _) => LimitType::Rate,
        (Category::Concurrency, _) => LimitType::Concurrency,
        (_, Unit::CostMicrousd) => LimitType::Cost,
        (_, Unit::TokensTotal) => LimitType::Tokens,
        (_, Unit::TokensInput) => LimitType::InputTokens,
        (_, Unit::TokensOutput) => LimitType::OutputTokens,
        (_, Unit::TimeMs) => LimitType::Time,
        (_, Unit::Requests | Unit::Runs | Unit::Steps) => LimitType::Steps,
    }
}

/// Whether a limit stops what reaches it.
#[must_use]
pub fn blocks(limit: &Limit) -> bool {
    matches!(limit.spec.enforcement, Enforcement::Block | Enforcement::Queue)
}

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// What is used.
    pub actual: i64,
    /// The limit's value as it holds; none: there is nothing to compare.
    pub value: Option<i64>,
    /// The limit's value but for an override; the same without one.
    pub base: i64,
}

impl Compared {
    /// With a value that no override replaces.
    #[must_use]
    pub fn plain(actual: i64, value: i64) -> Self {
        Self { actual, value: Some(value), base: value }
    }

    /// How it stands. `warn`: where the warning begins, per mille.
    #[must_use]
    pub fn outcome(&self, warn: u32) -> Outcome {
        let Some(value) = self.value else { return Outcome::Advisory };
        match permille(self.actual, value) {
            _ if self.base < value && (self.base..value).contains(&self.actual) => Outcome::Overridden,
            1_000.. => Outcome::Breach,
            ratio if ratio >= warn => Outcome::NearThreshold,
            _ => Outcome::Ok,
        }
    }

    /// `actual` × 1,000 / the value; none: there is nothing to compare.
    #[must_use]
    pub fn proximity(&self) -> Option<u32> {
        self.value.map(|value| permille(self.actual, value))
    }
}

/// The bound of a threshold that an attempt is nearest to: what is used, and the bound.
#[must_use]
pub fn nearest(limit: &Limit, used: &Used) -> Option<(i64, i64)> {
    let bounds = Bound::ALL.iter().filter_map(|b| Some((used.of(*b), limit.spec.params.value(*b)?)));
    bounds.max_by_key(|(actual, value)| permille(*actual, *value))
}

/// The worst that was told of a run, by limit and scope id. What is not in it was OK so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told(BTreeMap<Key, Outcome>);

impl Told {
    /// Notes an outcome; whether it is worse than all before.
    pub fn rises(&mut self, key: Key, outcome: Outcome) -> bool {
        let before = self.0.get(&key).copied().unwrap_or(Outcome::Ok);
        if outcome > before {
            self.0.insert(key, outcome);
        }
        outcome > before
    }

    /// As it is stored: `key:outcome`, with spaces between. A run that nears nothing stores nothing.
    #[must_use]
    pub fn to_text(&self) -> String {
        let one = |(key, outcome): (&Key, &Outcome)| format!("{key}:{}", outcome.code());
        self.0.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    /// From what is stored; none: it can't be read.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let one = |word: &str| {
            let (key, outcome) = word.split_once(':')?;
            Some((key.parse().ok()?, Outcome::from_code(outcome.parse().ok()?)?))
        };
        text.split_whitespace().map(one).collect::<Option<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limit::sample, threshold::Params};

    #[test]
    fn outcomes_begin_where_the_table_says() {
        let rows = [
            (799, Outcome::Ok),
            (800, Outcome::NearThreshold),
            (999, Outcome::NearThreshold),
            (1_000, Outcome::Breach),
            (5_000, Outcome::Breach),
        ];
        for (actual, expected) in rows {
            assert_eq!(Compared::plain(actual, 1_000).outcome(800), expected, "{actual}");
        }
        assert_eq!(Compared::plain(2_997, 3_000).proximity(), Some(999));
        let nothing = Compared { actual: 5, value: None, base: 0 };
        assert_eq!((nothing.outcome(800), nothing.proximity()), (Outcome::Advisory, None));
    }

    #[test]
    fn an_override_covers_what_is_between_the_values() {
        let under = |actual| Compared { actual, value: Some(2_000), base: 1_000 }.outcome(800);
        let said = [999, 1_000, 1_999, 2_000].map(under);
        assert_eq!(said, [Outcome::Ok, Outcome::Overridden, Outcome::Overridden, Outcome::Breach]);
        let tightened = Compared { actual: 500, value: Some(500), base: 1_000 };
        assert_eq!(tightened.outcome(800), Outcome::Breach);
    }

    #[test]
    fn the_nearest_bound_of_a_threshold_counts() {
        let mut limit = sample(1, 1);
        limit.spec.params = Params { max_steps: Some(10), max_tokens: Some(1_000), ..Params::default() };
        let used = Used { steps: 4, tokens: 900, ..Used::default() };
        assert_eq!(nearest(&limit, &used), Some((900, 1_000)));
        limit.spec.params = Params::default();
        assert_eq!(nearest(&limit, &used), None);
    }

    #[test]
    fn only_what_gets_worse_is_told() {
        let mut told = Told::default();
        let steps = [
            (1, Outcome::Ok, false),
            (1, Outcome::NearThreshold, true),
            (1, Outcome::NearThreshold, false),
            (2, Outcome::Breach, true),
            (1, Outcome::Ok, false),
            (1, Outcome::NearThreshold, false),
            (1, Outcome::Breach, true),
            (2, Outcome::Overridden, false),
        ];
        for (key, outcome, expected) in steps {
            assert_eq!(told.rises(key, outcome), expected, "{key} {outcome:?}");
        }
        assert_eq!(told.to_text(), "1:5 2:5");
        assert_eq!(Told::from_text(&told.to_text()), Some(told));
        assert_eq!(Told::default().to_text(), "");
        assert!(Told::from_text("1").is_none() && Told::from_text("1:9").is_none());
    }

    #[test]
    fn every_limit_compares_one_thing() {
        assert_eq!(type_of(Category::Rate, Unit::TokensTotal), LimitType::Rate);
        assert_eq!(type_of(Category::Concurrency, Unit::Steps), LimitType::Concurrency);
        assert_eq!(type_of(Category::Budget, Unit::TokensInput), LimitType::InputTokens);
        assert_eq!(type_of(Category::Threshold, Unit::Steps), LimitType::Steps);
    }
}
