//! Thresholds: what one attempt of a run should not pass. They signal; only a limit that says so stops a run.

use runspine_errors::Reason;

use crate::{
    limit::{Limit, permille},
    reasons,
    words::{Category, Unit, words},
};

words! {
    /// What a threshold bounds. The order is that in which a limit's own bound is chosen.
    Bound {
        /// Cost of the attempt, micro-USD.
        Cost = 1 "max_cost_microusd",
        /// Tokens of the attempt.
        Tokens = 2 "max_tokens",
        /// Milliseconds since EXECUTING.
        Time = 3 "max_execution_time_ms",
        /// Steps of the attempt.
        Steps = 4 "max_steps",
        /// Cost of one step, micro-USD.
        StepCost = 5 "max_step_cost_microusd",
        /// Tokens of one step.
        StepTokens = 6 "max_step_tokens",
        /// Steps of the attempt with the same kind, resource and arguments digest.
        Repeats = 7 "max_repeats",
    }
}

/// The key that asks for a signal of failures.
pub const FAILURE_SIGNAL: &str = "failure_signal";
/// The key of the ratio at which NEAR begins.
pub const NEAR_PERMILLE: &str = "near_permille";
/// Failed steps in a row that raise the failure signal.
pub const FAILED_IN_A_ROW: i64 = 3;
/// Default of `near_permille`.
pub const DEFAULT_NEAR: u32 = 800;

impl Bound {
    /// The default; none: nothing is bounded until a limit says so.
    #[must_use]
    pub fn default_value(self) -> Option<i64> {
        match self {
            Self::Cost => Some(1_000_000),
            Self::Tokens => Some(8_192),
            Self::Time => Some(60_000),
            Self::Steps => Some(200),
            Self::StepCost | Self::StepTokens | Self::Repeats => None,
        }
    }

    /// Least and most.
    #[must_use]
    pub fn range(self) -> (i64, i64) {
        match self {
            Self::Cost | Self::StepCost => (10_000, 10_000_000_000),
            Self::Tokens | Self::StepTokens => (256, 50_000_000),
            Self::Time => (1_000, 86_400_000),
            Self::Steps | Self::Repeats => (1, 100_000),
        }
    }

    /// What it is counted in.
    #[must_use]
    pub fn unit(self) -> Unit {
        match self {
            Self::Cost | Self::StepCost => Unit::CostMicrousd,
            Self::Tokens | Self::StepTokens => Unit::TokensTotal,
            Self::Time => Unit::TimeMs,
            Self::Steps | Self::Repeats => Unit::Steps,
        }
    }
}

/// What a THRESHOLD limit states; `None`: nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Params {
    pub max_cost_microusd: Option<i64>,
    pub max_tokens: Option<i64>,
    pub max_execution_time_ms: Option<i64>,
    pub max_steps: Option<i64>,
    pub max_step_cost_microusd: Option<i64>,
    pub max_step_tokens: Option<i64>,
    pub max_repeats: Option<i64>,
    pub failure_signal: Option<bool>,
    pub near_permille: Option<u32>,
}

/// A violation: field, reason, what is wrong.
pub type Wrong = (String, &'static Reason, String);

impl Params {
    /// One bound by its unit; `None`: thresholds don't bound this unit.
    #[must_use]
    pub fn of(unit: Unit, value: i64) -> Option<Self> {
        Bound::ALL.iter().find(|b| b.unit() == unit).map(|bound| Self::one(*bound, value))
    }

    /// One bound.
    #[must_use]
    pub fn one(bound: Bound, value: i64) -> Self {
        let mut params = Self::default();
        *params.slot(bound) = Some(value);
        params
    }

    /// From keys and values, with what is wrong about the keys. `failure_signal` is 0 or 1.
    #[must_use]
    pub fn parse<'a>(values: impl IntoIterator<Item = (&'a str, i64)>, field: &str) -> (Self, Vec<Wrong>) {
        let (mut params, mut wrong) = (Self::default(), Vec::new());
        for (key, value) in values {
            let name = format!("{field}.{key}");
            let out = |what: &str| (name.clone(), &reasons::THRESHOLD_OUT_OF_RANGE, what.to_owned());
            let known = Bound::ALL.iter().find(|b| b.name() == key);
            match (known, key) {
                (Some(bound), _) => *params.slot(*bound) = Some(value),
                (None, FAILURE_SIGNAL) if (0..=1).contains(&value) => {
                    params.failure_signal = Some(value == 1)
                }
                (None, FAILURE_SIGNAL) => wrong.push(out("is 0 or 1")),
                (None, NEAR_PERMILLE) => match u32::try_from(value) {
                    Ok(value) => params.near_permille = Some(value),
                    Err(_) => wrong.push(out("is 500 to 990")),
                },
                (None, _) => {
                    let what = format!("no threshold is called \"{key}\"");
                    wrong.push((name, &reasons::THRESHOLD_UNKNOWN_KEY, what));
                }
            }
        }
        (params, wrong)
    }

    /// As keys and values, in the order of the keys.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, i64)> {
        let bounds = Bound::ALL.iter().filter_map(|b| Some((b.name(), self.value(*b)?)));
        let failure = self.failure_signal.map(|on| (FAILURE_SIGNAL, i64::from(on)));
        let near = self.near_permille.map(|near| (NEAR_PERMILLE, i64::from(near)));
        bounds.chain(failure).chain(near).collect()
    }

    /// What is out of its range.
    #[must_use]
    pub fn violations(&self, field: &str) -> Vec<Wrong> {
        let out = |key: &str, (least, most): (i64, i64)| {
            (format!("{field}.{key}"), &reasons::THRESHOLD_OUT_OF_RANGE, format!("is {least} to {most}"))
        };
        let bounds = Bound::ALL.iter().filter(|b| {
            let (least, most) = b.range();
            self.value(**b).is_some_and(|v| !(least..=most).contains(&v))
        });
        let near = self.near_permille.filter(|near| !(500..=990).contains(near));
        let near = near.map(|_| out(NEAR_PERMILLE, (500, 990)));
        bounds.map(|b| out(b.name(), b.range())).chain(near).collect()
    }

    /// Whether nothing is stated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The stated value of a bound.
    #[must_use]
    pub fn value(&self, bound: Bound) -> Option<i64> {
        match bound {
            Bound::Cost => self.max_cost_microusd,
            Bound::Tokens => self.max_tokens,
            Bound::Time => self.max_execution_time_ms,
            Bound::Steps => self.max_steps,
            Bound::StepCost => self.max_step_cost_microusd,
            Bound::StepTokens => self.max_step_tokens,
            Bound::Repeats => self.max_repeats,
        }
    }

    fn slot(&mut self, bound: Bound) -> &mut Option<i64> {
        match bound {
            Bound::Cost => &mut self.max_cost_microusd,
            Bound::Tokens => &mut self.max_tokens,
            Bound::Time => &mut self.max_execution_time_ms,
            Bound::Steps => &mut self.max_steps,
            Bound::StepCost => &mut self.max_step_cost_microusd,
            Bound::StepTokens => &mut self.max_step_tokens,
            Bound::Repeats => &mut self.max_repeats,
        }
    }

    /// The stated bound in a unit.
    #[must_use]
    pub fn bound(&self, unit: Unit) -> Option<i64> {
        Bound::ALL.iter().filter(|b| b.unit() == unit).find_map(|b| self.value(*b))
    }

    /// With another value of the first bound that is stated.
    #[must_use]
    pub fn with_primary(mut self, value: i64) -> Self {
        if let Some(bound) = Bound::ALL.iter().find(|b| self.value(**b).is_some()) {
            *self.slot(*bound) = Some(value);
        }
        self
    }

    /// Unit and value of the first bound that is stated.
    #[must_use]
    pub fn primary(&self) -> Option<(Unit, i64)> {
        Bound::ALL.iter().find_map(|b| Some((b.unit(), self.value(*b)?)))
    }
}

/// Where an effective value comes from; none: the default.
pub type Source = Option<String>;

/// A value with its source, and the sources that state a looser one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<T> {
    /// The value.
    pub value: T,
    /// The limit, or the default.
    pub source: Source,
    /// What else states one.
    pub shadowed: Vec<Source>,
}

/// What holds for a run: per key the most restrictive of the defaults and all limits that apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The bounds that have a value, in the order of [`Bound::ALL`].
    pub bounds: Vec<(Bound, Value<i64>)>,
    /// Whether failures raise a signal.
    pub failure_signal: Value<bool>,
    /// Where NEAR begins.
    pub near_permille: Value<u32>,
}

impl Effective {
    /// Merges limits with the defaults. Their order has no meaning: of equal values the lower id is the source, and a
    /// limit before the default.
    #[must_use]
    pub fn merge<'a>(limits: impl IntoIterator<Item = &'a Limit>) -> Self {
        let mut stated: Vec<(&Limit, Params)> = limits
            .into_iter()
            .filter(|l| l.spec.category == Category::Threshold)
            .map(|l| (l, l.spec.params))
            .collect();
        stated.sort_by(|a, b| a.0.id.cmp(&b.0.id));
        stated.dedup_by(|a, b| a.0.id == b.0.id);
        let bounds = Bound::ALL.iter().filter_map(|bound| {
            let values = stated.iter().filter_map(|(l, p)| Some((p.value(*bound)?, Some(l.id.clone()))));
            let default = bound.default_value().map(|value| (value, None));
            Some((*bound, smallest(values.chain(default).collect())?))
        });
        let failures = stated.iter().filter_map(|(l, p)| Some((!p.failure_signal?, Some(l.id.clone()))));
        let failures = with_default(failures.collect(), false);
        let near = stated.iter().filter_map(|(l, p)| Some((p.near_permille?, Some(l.id.clone()))));
        Self {
            bounds: bounds.collect(),
            failure_signal: Value {
                value: !failures.value,
                source: failures.source,
                shadowed: failures.shadowed,
            },
            near_permille: with_default(near.collect(), DEFAULT_NEAR),
        }
    }

    /// The effective value of a bound.
    #[must_use]
    pub fn bound(&self, bound: Bound) -> Option<&Value<i64>> {
        self.bounds.iter().find(|(b, _)| *b == bound).map(|(_, v)| v)
    }
}

/// The smallest value, of equal ones the first.
fn smallest<T: Ord + Copy>(mut stated: Vec<(T, Source)>) -> Option<Value<T>> {
    let best = (0..stated.len()).min_by_key(|i| (stated[*i].0, *i))?;
    let (value, source) = stated.remove(best);
    Some(Value { value, source, shadowed: stated.into_iter().map(|s| s.1).collect() })
}

fn with_default<T: Ord + Copy>(mut stated: Vec<(T, Source)>, default: T) -> Value<T> {
    stated.push((default, None));
    smallest(stated).unwrap_or(Value { value: default, source: None, shadowed: Vec::new() })
}

/// How near a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Far.
    Ok,
    /// The warning was passed.
    Near,
    /// The limit was reached.
    Reached,
}

/// The level of a ratio.
#[must_use]
pub fn level(actual: i64, limit: i64, near_permille: u32) -> Level {
    match permille(actual, limit) {
        1_000.. => Level::Reached,
        ratio if ratio >= near_permille => Level::Near,
        _ => Level::Ok,
    }
}

/// What an attempt has used, or what one step may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Used {
    pub cost_microusd: i64,
    pub tokens: i64,
    pub time_ms: i64,
    pub steps: i64,
    /// Of one step alone; of an attempt 0.
    pub step_cost_microusd: i64,
    /// Of one step alone; of an attempt 0.
    pub step_tokens: i64,
    /// Steps that are the same action.
    pub repeats: i64,
}

impl Used {
    /// What of it a bound bounds.
    #[must_use]
    pub fn of(&self, bound: Bound) -> i64 {
        match bound {
            Bound::Cost => self.cost_microusd,
            Bound::Tokens => self.tokens,
            Bound::Time => self.time_ms,
            Bound::Steps => self.steps,
            Bound::StepCost => self.step_cost_microusd,
            Bound::StepTokens => self.step_tokens,
            Bound::Repeats => self.repeats,
        }
    }

    /// What one step uses: it is held against the bounds of a step and of the attempt.
    #[must_use]
    pub fn of_step(cost_microusd: i64, tokens: i64, time_ms: i64) -> Self {
        Self {
            cost_microusd,
            tokens,
            time_ms,
            steps: 1,
            step_cost_microusd: cost_microusd,
            step_tokens: tokens,
            repeats: 1,
        }
    }
}

/// A bound of a limit that a step would pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// The bound.
    pub bound: Bound,
    /// What the attempt has used.
    pub used: i64,
    /// With what the step may use: more than the limit.
    pub would_be: i64,
    /// The limit's value.
    pub limit_value: i64,
}

/// The bounds of one limit that a step would pass. Landing exactly on a bound is allowed.
#[must_use]
pub fn passed(params: &Params, used: &Used, estimate: &Used) -> Vec<Passed> {
    let rows = Bound::ALL.iter().filter_map(|bound| {
        let limit_value = params.value(*bound)?;
        let would_be = used.of(*bound).saturating_add(estimate.of(*bound));
        (would_be > limit_value).then_some(Passed {
            bound: *bound,
            used: used.of(*bound),
            would_be,
            limit_value,
        })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limit::sample;

    fn limit(id: i64, params: Params) -> Limit {
        let mut limit = sample(id, 1);
        limit.spec.category = Category::Threshold;
        limit.spec.params = params;
        limit
    }

    fn params() -> impl Strategy<Value = Params> {
        use proptest::option::of;
        (of(1..50_i64), of(1..50_i64), of(1..50_i64), of(any::<bool>()), of(500..990_u32)).prop_map(
            |(cost, tokens, steps, failure_signal, near_permille)| Params {
                max_cost_microusd: cost.map(|c| c * 100_000),
                max_tokens: tokens.map(|t| t * 1_000),
                max_execution_time_ms: None,
                max_steps: steps.map(|s| s * 10),
                failure_signal,
                near_permille,
                ..Params::default()
            },
        )
    }

    fn values(effective: &Effective) -> (Vec<i64>, bool, u32) {
        let bounds = effective.bounds.iter().map(|(_, v)| v.value).collect();
        (bounds, effective.failure_signal.value, effective.near_permille.value)
    }

    #[test]
    fn levels_begin_where_the_table_says() {
        let row = [(799, Level::Ok), (800, Level::Near), (999, Level::Near), (1_000, Level::Reached)];
        for (actual, expected) in row {
            assert_eq!(level(actual, 1_000, DEFAULT_NEAR), expected, "{actual}");
        }
    }

    #[test]
    fn the_most_restrictive_wins_and_says_where_it_comes_from() {
        let a = limit(1, Params { max_steps: Some(50), ..Params::default() });
        let b = limit(2, Params { max_steps: Some(20), failure_signal: Some(false), ..Params::default() });
        let effective = Effective::merge([&a, &b]);
        let steps = effective.bound(Bound::Steps).unwrap();
        assert_eq!((steps.value, steps.source.clone()), (20, Some("limit-2".into())));
        assert_eq!(steps.shadowed, [Some("limit-1".to_owned()), None]);
        assert!(effective.failure_signal.value, "true wins");
        assert_eq!(effective.bound(Bound::Tokens).unwrap().value, 8_192);
    }

    #[test]
    fn a_step_may_land_on_the_limit_and_not_beyond() {
        let params = Params { max_steps: Some(10), max_cost_microusd: Some(100), ..Params::default() };
        let used = Used { steps: 9, cost_microusd: 90, ..Used::default() };
        let ask = |cost_microusd| Used { steps: 1, cost_microusd, ..Used::default() };
        assert_eq!(passed(&params, &used, &ask(10)), []);
        let over = passed(&params, &used, &ask(11));
        assert_eq!((over.len(), over[0].bound, over[0].would_be), (1, Bound::Cost, 101));
    }

    #[test]
    fn keys_are_known_and_in_range() {
        let (params, wrong) = Params::parse([("max_steps", 5), ("max_stepz", 5), ("failure_signal", 2)], "p");
        assert_eq!(params.max_steps, Some(5));
        let names: Vec<&str> = wrong.iter().map(|w| w.1.name).collect();
        assert_eq!(names, ["THRESHOLD_UNKNOWN_KEY", "THRESHOLD_OUT_OF_RANGE"]);
        assert_eq!(params.pairs(), [("max_steps", 5)]);
        assert_eq!(Params { near_permille: Some(499), ..params }.violations("p").len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Commutative, associative and idempotent, and one more limit never raises a value.
        #[test]
        fn the_merge_has_no_order_and_only_tightens(all in proptest::collection::vec(params(), 0..6)) {
            let limits: Vec<Limit> = all.iter().enumerate().map(|(i, p)| limit(i as i64, *p)).collect();
            let merged = Effective::merge(&limits);
            prop_assert_eq!(&Effective::merge(limits.iter().rev()), &merged);
            prop_assert_eq!(&Effective::merge(limits.iter().chain(&limits)), &merged);
            for split in 0..limits.len() {
                let (fewer, more) = (values(&Effective::merge(&limits[..split])), values(&merged));
                prop_assert!(fewer.0.iter().zip(&more.0).all(|(f, m)| m <= f));
                prop_assert!(more.1 >= fewer.1 && more.2 <= fewer.2);
            }
        }
    }
}
