//! A limit: what may be created, how it changes, whom it applies to.

use runspine_errors::{Fault, Violations};
use runspine_types::{Hasher, Micros};

use crate::{
    reasons,
    words::{
        AmbiguousCharge, Category, Consequence, Enforcement, LimitSource, LimitState, Overage, PeriodKind,
        Scope, Unit,
    },
};

/// Integer key of a row.
pub type Key = i64;

/// The scope id that stands for "each one on its own".
pub const EACH: &str = "*";

/// What a limit says, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LimitSpec {
    pub name: String,
    pub description: String,
    pub category: Category,
    pub unit: Unit,
    pub scope: Scope,
    pub scope_id: String,
    pub max_value: i64,
    pub warn_permille: u32,
    pub block_permille: u32,
    pub enforcement: Enforcement,
    pub max_wait_s: u32,
    pub consequence: Consequence,
    pub overage: Overage,
    pub overdraft_limit: i64,
    pub period: PeriodKind,
    pub utc_offset_minutes: i32,
    pub rollover: bool,
    pub rollover_max_permille: u32,
    pub ambiguous_charge: AmbiguousCharge,
}

impl LimitSpec {
    /// Adds everything that makes no sense.
    pub fn check(&self, found: &mut Violations) {
        self.check_served(found);
        let length = self.name.chars().count();
        found.require((1..=120).contains(&length), "spec.name", "LIMIT_INVALID", "has 1 to 120 characters");
        let words = self.description.chars().count();
        found.require(words <= 1_000, "spec.description", "LIMIT_INVALID", "has at most 1,000 characters");
        found.require(self.max_value > 0, "spec.max_value", "AMOUNT_INVALID", "is greater than 0");
        self.check_scope(found);
        let warn = (1..=1_000).contains(&self.warn_permille);
        found.require(warn, "spec.warn_permille", "LIMIT_INVALID", "is 1 to 1,000");
        let block = self.block_permille >= self.warn_permille && self.block_permille <= 1_000;
        found.require(block, "spec.block_permille", "LIMIT_INVALID", "is from warn_permille to 1,000");
        found.require(self.max_wait_s <= 600, "spec.max_wait_s", "LIMIT_INVALID", "is 0 to 600");
        let overdraft = match self.overage {
            Overage::AllowWithOverdraft => self.overdraft_limit >= 0,
            _ => self.overdraft_limit == 0,
        };
        let what = "is at least 0 with ALLOW_WITH_OVERDRAFT and 0 without it";
        found.require(overdraft, "spec.overdraft_limit", "AMOUNT_INVALID", what);
        let offset = (-720..=840).contains(&self.utc_offset_minutes);
        found.require(offset, "spec.utc_offset_minutes", "LIMIT_INVALID", "is -720 to 840");
        let rolls = !self.rollover || self.period != PeriodKind::Total;
        found.require(rolls, "spec.rollover", "LIMIT_INVALID", "TOTAL has no next period");
        let cap = self.rollover_max_permille <= 1_000;
        found.require(cap, "spec.rollover_max_permille", "LIMIT_INVALID", "is 0 to 1,000");
    }

    fn check_served(&self, found: &mut Violations) {
        let category = self.category == Category::Budget;
        let what = "only BUDGET is served by this version";
        found.require(category, "spec.category", "LIMIT_INVALID", what);
        found.require(self.unit != Unit::Runs, "spec.unit", "UNIT_MISMATCH", "RUNS is no unit of a budget");
        let enforcement = self.enforcement != Enforcement::Degrade;
        let what = "DEGRADE is not served by this version";
        found.require(enforcement, "spec.enforcement", "LIMIT_INVALID", what);
    }

    fn check_scope(&self, found: &mut Violations) {
        let id = self.scope_id.as_str();
        let named = (1..=128).contains(&id.chars().count());
        let (holds, what) = match self.scope {
            Scope::Tenant => (id.is_empty(), "is empty for TENANT"),
            Scope::Run => (id == EACH, "is `*` for RUN: each run on its own"),
            Scope::Project | Scope::Agent | Scope::ApiKey => (named, "has 1 to 128 characters, or is `*`"),
            _ => {
                found.add("spec.scope", "SCOPE_INVALID", "this scope is not served by this version");
                return;
            }
        };
        found.require(holds, "spec.scope_id", "SCOPE_INVALID", what);
    }
}

/// A limit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Limit {
    pub key: Key,
    pub id: String,
    pub spec: LimitSpec,
    pub source: LimitSource,
    pub state: LimitState,
    pub version: u32,
    pub created_at: Micros,
    pub updated_at: Micros,
}

/// What an update sets; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LimitChange {
    pub max_value: Option<i64>,
    pub warn_permille: Option<u32>,
    pub block_permille: Option<u32>,
    pub enforcement: Option<Enforcement>,
    pub consequence: Option<Consequence>,
    pub overage: Option<Overage>,
    pub overdraft_limit: Option<i64>,
    pub max_wait_s: Option<u32>,
}

impl Limit {
    /// Escrow that a run may get is bounded by this: `block_permille` of what the period has.
    #[must_use]
    pub fn ceiling(&self, limit_value: i64) -> i64 {
        if self.spec.block_permille >= 1_000 {
            return limit_value;
        }
        scale(limit_value, self.spec.block_permille)
    }

    /// The limit after a change.
    ///
    /// # Errors
    /// `VERSION_CONFLICT`; `LIMIT_INVALID` with every violation.
    pub fn change(&self, seen: u32, change: &LimitChange, now: Micros) -> Result<Self, Fault> {
        self.expect_version(seen)?;
        let mut next = self.clone();
        let spec = &mut next.spec;
        spec.max_value = change.max_value.unwrap_or(spec.max_value);
        spec.warn_permille = change.warn_permille.unwrap_or(spec.warn_permille);
        spec.block_permille = change.block_permille.unwrap_or(spec.block_permille);
        spec.enforcement = change.enforcement.unwrap_or(spec.enforcement);
        spec.consequence = change.consequence.unwrap_or(spec.consequence);
        spec.overage = change.overage.unwrap_or(spec.overage);
        spec.max_wait_s = change.max_wait_s.unwrap_or(spec.max_wait_s);
        let kept = if spec.overage == Overage::AllowWithOverdraft { spec.overdraft_limit } else { 0 };
        spec.overdraft_limit = change.overdraft_limit.unwrap_or(kept);
        let mut found = Violations::new();
        next.spec.check(&mut found);
        found.into_result(&reasons::LIMIT_INVALID)?;
        next.version += 1;
        next.updated_at = now;
        Ok(next)
    }

    /// The limit in another state.
    ///
    /// # Errors
    /// `VERSION_CONFLICT`; `LIMIT_DISABLED` when it is in that state already.
    pub fn turn(&self, seen: u32, to: LimitState, now: Micros) -> Result<Self, Fault> {
        self.expect_version(seen)?;
        if self.state == to {
            let text = format!("the limit is {} already", to.name());
            return Err(
                Fault::new(&reasons::LIMIT_DISABLED, &text).precondition(format!("limits/{}", self.id), text)
            );
        }
        Ok(Self { state: to, version: self.version + 1, updated_at: now, ..self.clone() })
    }

    fn expect_version(&self, seen: u32) -> Result<(), Fault> {
        if self.version == seen {
            return Ok(());
        }
        let text = format!("the limit is at version {}, the caller has seen {seen}", self.version);
        Err(Fault::new(&reasons::VERSION_CONFLICT, text).with("version", self.version))
    }

    /// The scope ids under which a run counts for this limit; none: the limit does not apply.
    #[must_use]
    pub fn scope_ids(&self, run: &RunScope) -> Vec<String> {
        let wanted = self.spec.scope_id.as_str();
        let one = |id: &str| {
            let applies = !id.is_empty() && (wanted == EACH || wanted == id);
            if applies { vec![id.to_owned()] } else { Vec::new() }
        };
        match self.spec.scope {
            Scope::Tenant => vec![run.tenant_id.clone()],
            Scope::Project => one(&run.project_id),
            Scope::ApiKey => one(&run.api_key_id),
            Scope::Run => one(&run.run_id),
            Scope::Agent if wanted == EACH => one(&run.agent_id),
            Scope::Agent => {
                let mine = run.agent_id == wanted || run.agent_groups.iter().any(|g| g == wanted);
                if mine { vec![wanted.to_owned()] } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }
}

/// Whom a run is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct RunScope {
    pub tenant_id: String,
    pub run_id: String,
    pub project_id: String,
    pub agent_id: String,
    pub agent_groups: Vec<String>,
    pub api_key_id: String,
}

/// `value` × `permille` / 1,000 without overflow.
#[must_use]
pub fn scale(value: i64, permille: u32) -> i64 {
    let scaled = i128::from(value) * i128::from(permille) / 1_000;
    i64::try_from(scaled).unwrap_or(i64::MAX)
}

/// `part` × 1,000 / `whole`, floored and capped; 1,000 when `whole` is 0 or less.
#[must_use]
pub fn permille(part: i64, whole: i64) -> u32 {
    if whole <= 0 {
        return 1_000;
    }
    u32::try_from(i128::from(part.max(0)) * 1_000 / i128::from(whole)).unwrap_or(u32::MAX)
}

/// Digest of the limits in force: id and version of each, in the order of their ids.
#[must_use]
pub fn control_set_digest<'a>(limits: impl IntoIterator<Item = &'a Limit>) -> [u8; 32] {
    let mut lines: Vec<String> = limits.into_iter().map(|l| format!("{}:{}\n", l.id, l.version)).collect();
    lines.sort_unstable();
    Hasher::new("runspine.controlset.v1").sized(lines.concat().as_bytes()).finish().0
}

/// A budget limit for tests, with the defaults.
#[cfg(test)]
pub(crate) fn sample(key: Key, max_value: i64) -> Limit {
    Limit {
        key,
        id: format!("limit-{key}"),
        spec: LimitSpec {
            name: "sample".into(),
            description: String::new(),
            category: Category::Budget,
            unit: Unit::CostMicrousd,
            scope: Scope::Tenant,
            scope_id: String::new(),
            max_value,
            warn_permille: 800,
            block_permille: 1_000,
            enforcement: Enforcement::Block,
            max_wait_s: 30,
            consequence: Consequence::Alert,
            overage: Overage::AllowIfAvailable,
            overdraft_limit: 0,
            period: PeriodKind::Daily,
            utc_offset_minutes: 0,
            rollover: false,
            rollover_max_permille: 200,
            ambiguous_charge: AmbiguousCharge::Release,
        },
        source: LimitSource::Manual,
        state: LimitState::Active,
        version: 1,
        created_at: Micros(0),
        updated_at: Micros(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> RunScope {
        RunScope {
            tenant_id: "t".into(),
            run_id: "r".into(),
            project_id: "p".into(),
            agent_id: "a".into(),
            agent_groups: vec!["g".into()],
            api_key_id: String::new(),
        }
    }

    #[test]
    fn every_violation_is_named_at_once() {
        let mut limit = sample(1, 0);
        limit.spec.category = Category::Rate;
        limit.spec.unit = Unit::Runs;
        limit.spec.name = String::new();
        limit.spec.warn_permille = 900;
        limit.spec.block_permille = 800;
        limit.spec.overdraft_limit = 5;
        limit.spec.scope = Scope::Model;
        limit.spec.period = PeriodKind::Total;
        limit.spec.rollover = true;
        let mut found = Violations::new();
        limit.spec.check(&mut found);
        let fault = found.into_result(&reasons::LIMIT_INVALID).unwrap_err();
        let mut fields: Vec<&str> = fault.fields().iter().map(|f| f.field.as_str()).collect();
        fields.sort_unstable();
        let expected = [
            "spec.block_permille",
            "spec.category",
            "spec.max_value",
            "spec.name",
            "spec.overdraft_limit",
            "spec.rollover",
            "spec.scope",
            "spec.unit",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_limit_applies_by_its_scope() {
        let rows = [
            (Scope::Tenant, "", vec!["t"]),
            (Scope::Project, "p", vec!["p"]),
            (Scope::Project, "q", vec![]),
            (Scope::Project, EACH, vec!["p"]),
            (Scope::Agent, "g", vec!["g"]),
            (Scope::Agent, "h", vec![]),
            (Scope::Agent, EACH, vec!["a"]),
            (Scope::ApiKey, EACH, vec![]),
            (Scope::Run, EACH, vec!["r"]),
        ];
        for (scope, id, expected) in rows {
            let mut limit = sample(1, 10);
            limit.spec.scope = scope;
            limit.spec.scope_id = id.into();
            assert_eq!(limit.scope_ids(&run()), expected, "{scope:?} {id}");
        }
    }

    #[test]
    fn a_change_counts_and_an_old_reader_is_refused() {
        let limit = sample(1, 10);
        let change = LimitChange { max_value: Some(20), ..LimitChange::default() };
        let next = limit.change(1, &change, Micros(9)).unwrap();
        assert_eq!((next.spec.max_value, next.version, next.updated_at), (20, 2, Micros(9)));
        assert!(next.change(1, &change, Micros(9)).unwrap_err().is(&reasons::VERSION_CONFLICT));
        assert!(next.turn(2, LimitState::Active, Micros(9)).unwrap_err().is(&reasons::LIMIT_DISABLED));
        let off = next.turn(2, LimitState::Disabled, Micros(10)).unwrap();
        assert_eq!((off.state, off.version), (LimitState::Disabled, 3));
    }

    #[test]
    fn the_control_set_is_named_by_ids_and_versions_only() {
        let (a, b) = (sample(1, 10), sample(2, 10));
        assert_eq!(control_set_digest([&a, &b]), control_set_digest([&b, &a]));
        assert_ne!(control_set_digest([&a]), control_set_digest([&a, &b]));
    }
}
