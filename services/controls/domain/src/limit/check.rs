//! What makes no sense in a limit: everything that is wrong is said at once.

use runspine_errors::{Fault, Reason, Violations};

use super::{EACH, LimitSpec};
use crate::{
    reasons,
    words::{AmbiguousCharge, Category, Consequence, Enforcement, Overage, PeriodKind, Scope, Unit},
};

/// The most that a bucket holds, so that its nano-tokens fit.
pub const MOST_TOKENS: i64 = 9_000_000_000;

/// What is wrong so far. When all of it has one reason, the fault has it too.
#[derive(Default)]
struct Found {
    violations: Violations,
    reasons: Vec<&'static Reason>,
}

impl Found {
    fn require(&mut self, holds: bool, reason: &'static Reason, field: &str, what: &str) {
        if !holds {
            self.violations.add(field, reason.name, what);
            self.reasons.push(reason);
        }
    }

    /// `holds`, else the limit makes no sense.
    fn sane(&mut self, holds: bool, field: &str, what: &str) {
        self.require(holds, &reasons::LIMIT_INVALID, field, what);
    }

    fn result(self) -> Result<(), Fault> {
        let one = self.reasons.first().filter(|first| self.reasons.iter().all(|r| r == *first));
        self.violations.into_result(one.copied().unwrap_or(&reasons::LIMIT_INVALID))
    }
}

/// Whether a category counts in a unit.
fn counts(category: Category, unit: Unit) -> bool {
    use Unit::{CostMicrousd, Requests, Runs, Steps, TimeMs, TokensInput, TokensOutput, TokensTotal};
    match category {
        Category::Budget => unit != Runs,
        Category::Rate => {
            matches!(unit, Requests | Steps | Runs | TokensInput | TokensOutput | TokensTotal)
        }
        Category::Concurrency => matches!(unit, Runs | Steps),
        Category::Threshold => matches!(unit, CostMicrousd | TokensTotal | TimeMs | Steps),
    }
}

/// Whether an enforcement can come to anything.
fn enforces(category: Category, unit: Unit, enforcement: Enforcement) -> bool {
    use Enforcement::{Degrade, Queue, Reject};
    match category {
        Category::Budget => true,
        // A start is not degraded: there is nothing to cap.
        Category::Rate => enforcement != Degrade || unit != Unit::Runs,
        // REJECT refuses starts, and a number of steps is not looked at there; a degraded step takes a slot too.
        Category::Concurrency => enforcement != Degrade && (enforcement != Reject || unit == Unit::Runs),
        // What a run has used never shrinks, and a start has used nothing.
        Category::Threshold => !matches!(enforcement, Queue | Reject),
    }
}

impl LimitSpec {
    /// Whether the limit makes sense.
    ///
    /// # Errors
    /// With everything that is wrong: `LIMIT_INVALID`, or the one reason of all of it.
    pub fn validate(&self) -> Result<(), Fault> {
        let mut found = Found::default();
        self.check_text(&mut found);
        self.check_combination(&mut found);
        self.check_scope(&mut found);
        self.check_numbers(&mut found);
        match self.category {
            Category::Budget => self.check_budget(&mut found),
            _ => self.check_no_budget(&mut found),
        }
        self.check_rate(&mut found);
        self.check_threshold(&mut found);
        self.check_degrade(&mut found);
        found.result()
    }

    fn check_text(&self, found: &mut Found) {
        let length = self.name.chars().count();
        found.sane((1..=120).contains(&length), "spec.name", "has 1 to 120 characters");
        let words = self.description.chars().count();
        found.sane(words <= 1_000, "spec.description", "has at most 1,000 characters");
    }

    fn check_combination(&self, found: &mut Found) {
        let (category, unit) = (self.category, self.unit);
        let what = format!("{} does not count {}", category.name(), unit.name());
        found.require(counts(category, unit), &reasons::UNIT_MISMATCH, "spec.unit", &what);
        let what = format!(
            "{} comes to nothing for {} of {}",
            self.enforcement.name(),
            category.name(),
            unit.name()
        );
        found.sane(enforces(category, unit, self.enforcement), "spec.enforcement", &what);
        let denies =
            matches!(self.enforcement, Enforcement::Block | Enforcement::Reject | Enforcement::Queue);
        let aborts = self.consequence == Consequence::Abort;
        found.sane(!aborts || denies, "spec.consequence", "ABORT needs an enforcement that denies");
    }

    fn check_scope(&self, found: &mut Found) {
        let id = self.scope_id.as_str();
        let named = (1..=128).contains(&id.chars().count());
        let (holds, what) = match self.scope {
            Scope::Global => (id.is_empty(), "is empty for GLOBAL"),
            Scope::Tenant => (id.is_empty(), "is empty for TENANT"),
            Scope::Run => (id == EACH, "is `*` for RUN: each run on its own"),
            _ => (named, "has 1 to 128 characters, or is `*`"),
        };
        found.require(holds, &reasons::SCOPE_INVALID, "spec.scope_id", what);
        // A start has no tool, no provider and no model, and a run has one start.
        let of_steps = matches!(self.scope, Scope::Provider | Scope::Model | Scope::Tool | Scope::Run);
        let counted = self.unit != Unit::Runs || !of_steps;
        found.require(counted, &reasons::SCOPE_INVALID, "spec.scope", "RUNS are not counted in this scope");
    }

    fn check_numbers(&self, found: &mut Found) {
        found.require(self.max_value > 0, &reasons::AMOUNT_INVALID, "spec.max_value", "is greater than 0");
        found.sane((1..=1_000).contains(&self.warn_permille), "spec.warn_permille", "is 1 to 1,000");
        let block = self.block_permille >= self.warn_permille && self.block_permille <= 1_000;
        found.sane(block, "spec.block_permille", "is from warn_permille to 1,000");
        found.sane(self.max_wait_s <= 600, "spec.max_wait_s", "is 0 to 600");
    }

    fn check_budget(&self, found: &mut Found) {
        let what = "a budget needs a period";
        found.require(self.period.is_some(), &reasons::PERIOD_REQUIRED, "spec.period", what);
        let overdraft = match self.overage {
            Overage::AllowWithOverdraft => self.overdraft_limit >= 0,
            _ => self.overdraft_limit == 0,
        };
        let what = "is at least 0 with ALLOW_WITH_OVERDRAFT and 0 without it";
        found.require(overdraft, &reasons::AMOUNT_INVALID, "spec.overdraft_limit", what);
        let offset = (-720..=840).contains(&self.utc_offset_minutes);
        found.sane(offset, "spec.utc_offset_minutes", "is -720 to 840");
        let rolls = !self.rollover || self.period() != PeriodKind::Total;
        found.sane(rolls, "spec.rollover", "TOTAL has no next period");
        let cap = self.rollover_max_permille <= 1_000;
        found.sane(cap, "spec.rollover_max_permille", "is 0 to 1,000");
    }

    fn check_no_budget(&self, found: &mut Found) {
        let what = "only a budget has one";
        found.sane(self.period.is_none(), "spec.period", what);
        found.sane(self.overage == Overage::AllowIfAvailable, "spec.overage", what);
        found.sane(self.overdraft_limit == 0, "spec.overdraft_limit", what);
        found.sane(self.utc_offset_minutes == 0, "spec.utc_offset_minutes", what);
        found.sane(!self.rollover, "spec.rollover", what);
        found.sane(self.ambiguous_charge == AmbiguousCharge::Release, "spec.ambiguous_charge", what);
    }

    fn check_rate(&self, found: &mut Found) {
        if self.category != Category::Rate {
            found.sane(self.window_s == 0, "spec.window_s", "only a rate has one");
            found.sane(self.burst == 0, "spec.burst", "only a rate has one");
            return;
        }
        let window = (1..=86_400).contains(&self.window_s);
        found.require(window, &reasons::WINDOW_REQUIRED, "spec.window_s", "a rate needs one, 1 to 86,400");
        let fits = self.max_value <= MOST_TOKENS;
        found.require(
            fits,
            &reasons::AMOUNT_INVALID,
            "spec.max_value",
            "is at most 9,000,000,000 for a rate",
        );
        let most = self.max_value.saturating_mul(10).min(MOST_TOKENS);
        let burst = (1..=most).contains(&self.burst);
        let what = "is 1 to 10 × max_value, at most 9,000,000,000";
        found.require(burst, &reasons::AMOUNT_INVALID, "spec.burst", what);
    }

    fn check_threshold(&self, found: &mut Found) {
        if self.category != Category::Threshold {
            found.sane(self.params.is_empty(), "spec.params", "only a threshold has them");
            return;
        }
        for (field, reason, what) in self.params.violations("spec.params") {
            found.require(false, reason, &field, &what);
        }
        let primary = self.params.primary();
        let what = "a threshold needs a bound: time, tokens, cost or steps";
        found.sane(primary.is_some(), "spec.params", what);
        let agrees = primary.is_none() || self.params.bound(self.unit) == Some(self.max_value);
        found.sane(
            agrees,
            "spec.max_value",
            "unit and max_value repeat a bound of params, or are not stated",
        );
    }

    fn check_degrade(&self, found: &mut Found) {
        let degrades = self.enforcement == Enforcement::Degrade;
        let what = "an obligation is stated with DEGRADE, and only with it";
        found.sane(degrades != self.degrade.is_empty(), "spec.degrade", what);
        let cap = (0..=50_000_000).contains(&self.degrade.cap_tokens);
        found.sane(cap, "spec.degrade.cap_tokens", "is 0 to 50,000,000");
        let model = self.degrade.use_model.chars().count() <= 128;
        found.sane(model, "spec.degrade.use_model", "has at most 128 characters");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limit::sample, threshold::Params};

    fn fields(spec: &LimitSpec) -> Vec<String> {
        let Err(fault) = spec.validate() else { return Vec::new() };
        let mut fields: Vec<String> = fault.fields().iter().map(|f| f.field.clone()).collect();
        fields.sort_unstable();
        fields
    }

    /// A limit of a category with everything that the category needs and nothing else.
    fn plain(category: Category, unit: Unit, enforcement: Enforcement) -> LimitSpec {
        let mut spec = sample(1, 300).spec;
        (spec.category, spec.unit, spec.enforcement) = (category, unit, enforcement);
        if category != Category::Budget {
            spec.period = None;
        }
        if category == Category::Rate {
            (spec.window_s, spec.burst) = (60, 300);
        }
        if category == Category::Threshold {
            spec.max_value = 20_000;
            spec.params =
                Params::of(unit, 20_000).unwrap_or(Params { max_steps: Some(20_000), ..Params::default() });
        }
        if enforcement == Enforcement::Degrade {
            spec.degrade.dry_run = true;
        }
        spec
    }

    #[test]
    fn every_combination_of_category_unit_and_enforcement_is_sensible_or_named() {
        let (mut sensible, mut refused) = (0, 0);
        for category in Category::ALL {
            for unit in Unit::ALL {
                for enforcement in Enforcement::ALL {
                    let spec = plain(*category, *unit, *enforcement);
                    let mut expected = Vec::new();
                    if !enforces(*category, *unit, *enforcement) {
                        expected.push("spec.enforcement");
                    }
                    if *category == Category::Threshold && !counts(*category, *unit) {
                        expected.push("spec.max_value");
                    }
                    if !counts(*category, *unit) {
                        expected.push("spec.unit");
                    }
                    assert_eq!(fields(&spec), expected, "{category:?} {unit:?} {enforcement:?}");
                    if expected.is_empty() { sensible += 1 } else { refused += 1 }
                }
            }
        }
        assert_eq!((sensible, refused), (102, 90));
        use Enforcement::{Block, Degrade, Queue, Reject};
        for (category, unit, enforcement) in [
            (Category::Rate, Unit::TimeMs, Block),
            (Category::Rate, Unit::CostMicrousd, Block),
            (Category::Budget, Unit::Runs, Block),
            (Category::Concurrency, Unit::TokensTotal, Block),
            (Category::Concurrency, Unit::Steps, Reject),
            (Category::Threshold, Unit::Steps, Queue),
            (Category::Rate, Unit::Runs, Degrade),
        ] {
            assert!(!fields(&plain(category, unit, enforcement)).is_empty(), "{category:?} {unit:?}");
        }
    }

    #[test]
    fn what_belongs_to_one_category_is_refused_in_the_others() {
        let mut budget = plain(Category::Budget, Unit::CostMicrousd, Enforcement::Block);
        (budget.window_s, budget.burst, budget.period) = (60, 5, None);
        budget.params.max_steps = Some(5);
        assert_eq!(fields(&budget), ["spec.burst", "spec.params", "spec.period", "spec.window_s"]);
        let mut rate = plain(Category::Rate, Unit::Requests, Enforcement::Queue);
        rate.window_s = 0;
        assert!(rate.validate().unwrap_err().is(&reasons::WINDOW_REQUIRED));
        rate.burst = 3_001;
        rate.period = Some(PeriodKind::Daily);
        rate.rollover = true;
        assert_eq!(fields(&rate), ["spec.burst", "spec.period", "spec.rollover", "spec.window_s"]);
        let mut threshold = plain(Category::Threshold, Unit::Steps, Enforcement::Block);
        threshold.params.max_tokens = Some(255);
        threshold.params.near_permille = Some(991);
        let fault = threshold.validate().unwrap_err();
        assert!(fault.is(&reasons::THRESHOLD_OUT_OF_RANGE));
        assert_eq!(fault.fields().len(), 2);
    }

    #[test]
    fn scopes_aborts_and_obligations_have_to_fit() {
        let mut spec = plain(Category::Concurrency, Unit::Runs, Enforcement::Block);
        spec.scope = Scope::Tool;
        spec.scope_id = "files".into();
        assert!(spec.validate().unwrap_err().is(&reasons::SCOPE_INVALID));
        let mut spec = plain(Category::Budget, Unit::CostMicrousd, Enforcement::Warn);
        spec.consequence = Consequence::Abort;
        spec.degrade.cap_tokens = 5;
        assert_eq!(fields(&spec), ["spec.consequence", "spec.degrade"]);
        let mut spec = plain(Category::Budget, Unit::CostMicrousd, Enforcement::Degrade);
        spec.degrade = super::super::Degrade::default();
        assert_eq!(fields(&spec), ["spec.degrade"]);
    }

    #[test]
    fn every_violation_is_named_at_once() {
        let mut spec = sample(1, 0).spec;
        spec.unit = Unit::Runs;
        spec.name = String::new();
        (spec.warn_permille, spec.block_permille, spec.overdraft_limit) = (900, 800, 5);
        spec.scope = Scope::Model;
        spec.period = Some(PeriodKind::Total);
        spec.rollover = true;
        let expected = [
            "spec.block_permille",
            "spec.max_value",
            "spec.name",
            "spec.overdraft_limit",
            "spec.rollover",
            "spec.scope",
            "spec.scope_id",
            "spec.unit",
        ];
        assert_eq!(fields(&spec), expected);
        assert!(spec.validate().unwrap_err().is(&reasons::LIMIT_INVALID));
    }
}
