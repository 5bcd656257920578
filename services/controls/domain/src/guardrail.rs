//! Guardrails: the limits of the mesh that every tenant has. Each is a limit of source SYSTEM like any other, so that
//! admissions, overrides, evidence and control sets know nothing of guardrails; what is beyond a limit stands here.

use runspine_errors::Fault;
use runspine_types::{Hasher, Micros, new_id_at};

use crate::{
    freeze::FreezeReason,
    limit::{Degrade, EACH, Limit, LimitSpec},
    period, reasons,
    threshold::{Bound, Params},
    words::{
        AmbiguousCharge, Category, Consequence, Enforcement, LimitSource, LimitState, Overage, PeriodKind,
        Scope, Unit, words,
    },
};

words! {
    /// The guardrails, in the order of their priority.
    Guardrail {
        /// Cost of a run.
        RunCost = 1 "g.run.cost",
        /// Cost of a step.
        StepCost = 2 "g.step.cost",
        /// Tokens of a run.
        RunTokens = 3 "g.run.tokens",
        /// Tokens of a step.
        StepTokens = 4 "g.step.tokens",
        /// Cost of an agent on a day.
        AgentDayCost = 5 "g.agent.day.cost",
        /// Steps of a tenant on a day.
        TenantDayRequests = 6 "g.tenant.day.requests",
        /// Steps of an API key in a minute.
        KeyMinuteRequests = 7 "g.key.minute.requests",
        /// Steps of an agent that failed.
        AgentFailures = 8 "g.agent.failures",
        /// The same action again and again.
        RunLoop = 9 "g.run.loop",
    }
}

words! {
    /// What a guardrail guards.
    GuardrailCategory {
        /// Money and tokens.
        Cost = 1 "COST",
        /// How fast.
        Rate = 2 "RATE",
        /// Agents that fail or go round in circles.
        Safety = 3 "SAFETY",
    }
}

words! {
    /// How a guardrail compares.
    GuardrailKind {
        /// With the most that may be used.
        MaxValue = 1 "MAX_VALUE",
        /// With a number in a window.
        RateLimit = 2 "RATE_LIMIT",
        /// With a number that shows that something is wrong.
        Threshold = 3 "THRESHOLD",
    }
}

words! {
    /// What happens when a guardrail trips.
    GuardrailAction {
        /// The step is denied.
        Block = 1 "BLOCK",
        /// A start is denied, a step is warned.
        Reject = 2 "REJECT",
        /// The step is deferred.
        Throttle = 3 "THROTTLE",
        /// The agent is frozen.
        Freeze = 4 "FREEZE",
    }
}

/// How far back failed steps count, seconds.
pub const FAILURES_WINDOW_S: i64 = 300;
/// From which share of the steps on failures trip, per mille.
pub const FAILURES_PERMILLE: i64 = 500;
/// How long an agent that fails is frozen, seconds.
pub const FAILURES_FREEZE_S: u32 = 3_600;
/// A day, seconds.
const DAY_S: u32 = 86_400;

/// Whether so many failed steps trip the guardrail, whose value is `most`.
#[must_use]
pub fn trips(steps: u32, failed: u32, most: i64) -> bool {
    let (steps, failed) = (i64::from(steps), i64::from(failed));
    failed >= most && failed.saturating_mul(1_000) >= steps.saturating_mul(FAILURES_PERMILLE)
}

/// The values that new tenants get, in the order of [`Guardrail::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults([i64; 9]);

impl Default for Defaults {
    fn default() -> Self {
        Self([5_000_000, 1_000_000, 100_000, 10_000, 100_000_000, 10_000, 600, 20, 20])
    }
}

impl Defaults {
    /// The value of a guardrail.
    #[must_use]
    pub fn of(&self, guardrail: Guardrail) -> i64 {
        self.0[guardrail as usize - 1]
    }

    /// With another value of a guardrail.
    #[must_use]
    pub fn with(mut self, guardrail: Guardrail, value: i64) -> Self {
        self.0[guardrail as usize - 1] = value;
        self
    }

    /// The guardrails that a tenant with these limits lacks, as limits.
    #[must_use]
    pub fn missing(&self, tenant: &str, known: &[Limit], now: Micros) -> Vec<Limit> {
        let has = |guardrail: Guardrail| known.iter().any(|l| Guardrail::of(l) == Some(guardrail));
        let lacks = Guardrail::ALL.iter().copied().filter(|guardrail| !has(*guardrail));
        lacks.map(|guardrail| guardrail.limit(tenant, self.of(guardrail), now)).collect()
    }
}

/// What somebody wants of a guardrail; none: it stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Setting {
    pub value: Option<i64>,
    pub state: Option<LimitState>,
}

impl Guardrail {
    /// The guardrail of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|guardrail| guardrail.name() == name)
    }

    /// The guardrail that a limit is.
    #[must_use]
    pub fn of(limit: &Limit) -> Option<Self> {
        Self::named(&limit.spec.name).filter(|_| limit.source == LimitSource::System)
    }

    /// What it guards.
    #[must_use]
    pub fn category(self) -> GuardrailCategory {
        match self {
            Self::TenantDayRequests | Self::KeyMinuteRequests => GuardrailCategory::Rate,
            Self::AgentFailures | Self::RunLoop => GuardrailCategory::Safety,
            _ => GuardrailCategory::Cost,
        }
    }

    /// How it compares.
    #[must_use]
    pub fn kind(self) -> GuardrailKind {
        match self.category() {
            GuardrailCategory::Cost => GuardrailKind::MaxValue,
            GuardrailCategory::Rate => GuardrailKind::RateLimit,
            GuardrailCategory::Safety => GuardrailKind::Threshold,
        }
    }

    /// Least and most value.
    #[must_use]
    pub fn range(self) -> (i64, i64) {
        match (self, self.bound()) {
            (_, Some(bound)) => bound.range(),
            (Self::AgentDayCost, _) => (10_000, 1_000_000_000_000),
            (Self::AgentFailures, _) => (1, 100_000),
            _ => (1, 1_000_000_000),
        }
    }

    /// What happens when it trips.
    #[must_use]
    pub fn actions(self) -> &'static [GuardrailAction] {
        match self {
            Self::AgentDayCost => &[GuardrailAction::Block, GuardrailAction::Freeze],
            Self::TenantDayRequests => &[GuardrailAction::Reject],
            Self::KeyMinuteRequests => &[GuardrailAction::Throttle],
            Self::AgentFailures => &[GuardrailAction::Freeze],
            _ => &[GuardrailAction::Block],
        }
    }

    /// Length of its window, seconds; 0: it has none.
    #[must_use]
    pub fn window_s(self) -> u32 {
        match self {
            Self::AgentDayCost | Self::TenantDayRequests => DAY_S,
            Self::KeyMinuteRequests => 60,
            Self::AgentFailures => FAILURES_WINDOW_S as u32,
            _ => 0,
        }
    }

    /// How long its freeze lasts, seconds; 0: it has none, or lasts to the end of the period.
    #[must_use]
    pub fn freeze_s(self) -> u32 {
        if self == Self::AgentFailures { FAILURES_FREEZE_S } else { 0 }
    }

    /// Why its agent is frozen, and until when, when it trips at a time; none: it does not freeze.
    #[must_use]
    pub fn freezes(self, at: Micros) -> Option<(FreezeReason, Micros)> {
        match self {
            Self::AgentDayCost => {
                let day = period::bounds(PeriodKind::Daily, 0, at, at);
                Some((FreezeReason::Budget, day.end.unwrap_or(at)))
            }
            Self::AgentFailures => {
                let until = at.plus_millis(i64::from(FAILURES_FREEZE_S) * 1_000);
                Some((FreezeReason::FailureSpike, until))
            }
            _ => None,
        }
    }

    /// The bound of an attempt or a step that it is; none: it counts otherwise.
    fn bound(self) -> Option<Bound> {
        match self {
            Self::RunCost => Some(Bound::Cost),
            Self::StepCost => Some(Bound::StepCost),
            Self::RunTokens => Some(Bound::Tokens),
            Self::StepTokens => Some(Bound::StepTokens),
            Self::RunLoop => Some(Bound::Repeats),
            _ => None,
        }
    }

    /// The id of its limit: a tenant's guardrail has one before anything is stored of it.
    #[must_use]
    pub fn limit_id(self, tenant: &str) -> String {
        let named =
            Hasher::new("runspine.guardrail.v1").sized(tenant.as_bytes()).sized(self.name().as_bytes());
        let digest = named.finish();
        new_id_at(Micros(0), std::array::from_fn(|place| digest.as_bytes()[place]))
    }

    /// As a limit of a tenant with a value.
    #[must_use]
    pub fn limit(self, tenant: &str, value: i64, now: Micros) -> Limit {
        Limit {
            key: 0,
            id: self.limit_id(tenant),
            spec: self.spec(value),
            source: LimitSource::System,
            state: LimitState::Active,
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// What its limit says with a value.
    #[must_use]
    pub fn spec(self, value: i64) -> LimitSpec {
        let (category, unit) = self.counts();
        let (scope, scope_id) = match self {
            Self::AgentDayCost | Self::AgentFailures => (Scope::Agent, EACH),
            Self::KeyMinuteRequests => (Scope::ApiKey, EACH),
            // Bounds of an attempt hold for every run of the tenant: none needs a row of its own.
            _ => (Scope::Tenant, ""),
        };
        let (window_s, burst) = match self {
            Self::TenantDayRequests => (self.window_s(), value),
            // The minute's steps don't have to be spread evenly, nor may they all come at once.
            Self::KeyMinuteRequests => (self.window_s(), (value / 6).max(1)),
            _ => (0, 0),
        };
        LimitSpec {
            name: self.name().to_owned(),
            description: self.description().to_owned(),
            category,
            unit,
            scope,
            scope_id: scope_id.to_owned(),
            max_value: value,
            warn_permille: 800,
            block_permille: 1_000,
            enforcement: self.enforcement(),
            max_wait_s: 30,
            consequence: self.consequence(),
            overage: Overage::AllowIfAvailable,
            overdraft_limit: 0,
            period: (category == Category::Budget).then_some(PeriodKind::Daily),
            utc_offset_minutes: 0,
            rollover: false,
            rollover_max_permille: 200,
            ambiguous_charge: AmbiguousCharge::Release,
            window_s,
            burst,
            params: self.bound().map_or_else(Params::default, |bound| Params::one(bound, value)),
            degrade: Degrade::default(),
        }
    }

    fn counts(self) -> (Category, Unit) {
        match self {
            Self::RunCost | Self::StepCost => (Category::Threshold, Unit::CostMicrousd),
            Self::RunTokens | Self::StepTokens => (Category::Threshold, Unit::TokensTotal),
            Self::AgentDayCost => (Category::Budget, Unit::CostMicrousd),
            Self::TenantDayRequests | Self::KeyMinuteRequests => (Category::Rate, Unit::Steps),
            Self::AgentFailures | Self::RunLoop => (Category::Threshold, Unit::Steps),
        }
    }

    fn enforcement(self) -> Enforcement {
        match self {
            Self::TenantDayRequests => Enforcement::Reject,
            Self::KeyMinuteRequests => Enforcement::Queue,
            // Its freeze is what stops; an admission has nothing to compare.
            Self::AgentFailures => Enforcement::Alert,
            _ => Enforcement::Block,
        }
    }

    fn consequence(self) -> Consequence {
        match self {
            Self::RunCost | Self::AgentDayCost | Self::AgentFailures | Self::RunLoop => Consequence::Incident,
            _ => Consequence::Alert,
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::RunCost => "The most that one attempt of a run may cost.",
            Self::StepCost => "The most that one step may cost.",
            Self::RunTokens => "The most tokens that one attempt of a run may use.",
            Self::StepTokens => "The most tokens that one step may use.",
            Self::AgentDayCost => "The most that the runs of an agent may cost on a day; then it is frozen.",
            Self::TenantDayRequests => "Steps of the tenant on a day; then no run starts.",
            Self::KeyMinuteRequests => "Steps of an API key in a minute, a sixth of them at once.",
            Self::AgentFailures => {
                "Failed steps of an agent in 300 s that are half of all; then it is frozen."
            }
            Self::RunLoop => "How often a run may do the same with the same arguments.",
        }
    }

    /// Its limit after a setting.
    ///
    /// # Errors
    /// `THRESHOLD_OUT_OF_RANGE`; `OPERATOR_REQUIRED` when it is looser than the default and nobody of the mesh wants it.
    pub fn set(
        self,
        limit: &Limit,
        setting: Setting,
        default: i64,
        operator: bool,
        now: Micros,
    ) -> Result<Limit, Fault> {
        let (least, most) = self.range();
        if setting.value.is_some_and(|value| !(least..=most).contains(&value)) {
            let what = format!("is {least} to {most}");
            let reason = &reasons::THRESHOLD_OUT_OF_RANGE;
            return Err(Fault::new(reason, &what).field("value", reason.name, what));
        }
        let looser = setting.value.is_some_and(|value| value > default);
        if (looser || setting.state == Some(LimitState::Disabled)) && !operator {
            let text = format!("{} looser than {default} is an operator's", self.name());
            return Err(Fault::new(&reasons::OPERATOR_REQUIRED, text));
        }
        Ok(Limit {
            spec: setting.value.map_or_else(|| limit.spec.clone(), |value| self.spec(value)),
            state: setting.state.unwrap_or(limit.state),
            version: limit.version + 1,
            updated_at: now,
            ..limit.clone()
        })
    }
}

#[cfg(test)]
mod tests;
