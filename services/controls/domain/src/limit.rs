//! A limit: what may be created, how it changes, whom it applies to.

mod check;

pub use check::MOST_TOKENS;
use runspine_errors::Fault;
use runspine_types::{Digest, Hasher, Micros};

use crate::{
    reasons,
    threshold::Params,
    words::{
        AmbiguousCharge, Category, Consequence, Enforcement, LimitSource, LimitState, Overage, PeriodKind,
        Scope, StepKind, Unit,
    },
};

/// Integer key of a row.
pub type Key = i64;

/// The scope id that stands for "each one on its own".
pub const EACH: &str = "*";
/// The scope id of a GLOBAL limit.
pub const MESH: &str = "mesh";

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
    /// Only of a budget.
    pub period: Option<PeriodKind>,
    pub utc_offset_minutes: i32,
    pub rollover: bool,
    pub rollover_max_permille: u32,
    pub ambiguous_charge: AmbiguousCharge,
    /// Only of a rate, seconds; else 0.
    pub window_s: u32,
    /// Only of a rate: what a full bucket holds; else 0.
    pub burst: i64,
    /// Only of a threshold.
    pub params: Params,
    /// Only with DEGRADE.
    pub degrade: Degrade,
}

/// What a run has to do when a DEGRADE limit refuses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Degrade {
    /// The most tokens of the step; 0: no cap.
    pub cap_tokens: i64,
    /// The model to use; empty: the one asked for.
    pub use_model: String,
    /// Nothing is really done.
    pub dry_run: bool,
}

impl Degrade {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As obligations: name and arguments.
    #[must_use]
    pub fn obligations(&self) -> Vec<(&'static str, Vec<String>)> {
        let mut all = Vec::new();
        if self.cap_tokens > 0 {
            all.push(("cap_tokens", vec![self.cap_tokens.to_string()]));
        }
        if !self.use_model.is_empty() {
            all.push(("use_model", vec![self.use_model.clone()]));
        }
        if self.dry_run {
            all.push(("dry_run", Vec::new()));
        }
        all
    }
}

impl LimitSpec {
    /// How long an amount lasts; what is no budget lasts for ever.
    #[must_use]
    pub fn period(&self) -> PeriodKind {
        self.period.unwrap_or(PeriodKind::Total)
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
    pub params: Option<Params>,
    pub burst: Option<i64>,
    pub degrade: Option<Degrade>,
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

    /// The limit with another value: what an override makes of it. A bucket stays as many times its rate as it was, and
    /// of a threshold the bound that names the limit is replaced.
    #[must_use]
    pub fn with_value(&self, value: i64) -> Self {
        let mut next = self.clone();
        let spec = &mut next.spec;
        if spec.category == Category::Rate {
            let burst = i128::from(spec.burst) * i128::from(value) / i128::from(spec.max_value.max(1));
            spec.burst = i64::try_from(burst).unwrap_or(MOST_TOKENS).clamp(1, MOST_TOKENS.max(value));
        }
        if spec.category == Category::Threshold {
            spec.params = spec.params.with_primary(value);
        }
        spec.max_value = value;
        next
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
        if let Some(burst) = change.burst {
            spec.burst = burst;
        } else if self.spec.category == Category::Rate && self.spec.burst == self.spec.max_value {
            // A bucket that was as large as its rate stays so.
            spec.burst = spec.max_value;
        }
        if let Some(params) = change.params {
            spec.params = params;
            (spec.unit, spec.max_value) = params.primary().unwrap_or((spec.unit, spec.max_value));
        }
        if let Some(degrade) = &change.degrade {
            spec.degrade = degrade.clone();
        } else if spec.enforcement != Enforcement::Degrade {
            spec.degrade = Degrade::default();
        }
        next.spec.validate()?;
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

    /// The scope id under which a run or a step counts for this limit; none: the limit does not apply.
    #[must_use]
    pub fn scope_id<'a>(&'a self, run: &'a RunScope) -> Option<&'a str> {
        let wanted = self.spec.scope_id.as_str();
        let one = |id: &'a str| Some(id).filter(|id| !id.is_empty() && (wanted == EACH || wanted == *id));
        match self.spec.scope {
            Scope::Global => Some(MESH),
            Scope::Tenant => Some(&run.tenant_id),
            Scope::Project => one(&run.project_id),
            Scope::ApiKey => one(&run.api_key_id),
            Scope::HumanActor => one(&run.human_actor_id),
            Scope::Provider => one(&run.provider),
            Scope::Model => one(&run.model),
            Scope::Run => one(&run.run_id),
            Scope::Tool if wanted != EACH && run.tool_server() == Some(wanted) => Some(wanted),
            Scope::Tool => one(&run.tool),
            Scope::Agent if wanted == EACH => one(&run.agent_id),
            Scope::Agent => {
                let mine = run.agent_id == wanted || run.agent_groups.iter().any(|g| g == wanted);
                mine.then_some(wanted)
            }
        }
    }

    /// Whether the limit is looked at when a run starts (`at_start`), or when a step is asked for. A rate of steps that
    /// REJECTs is looked at in both: where no step may be taken, no run begins.
    #[must_use]
    pub fn looked_at(&self, at_start: bool) -> bool {
        match self.spec.category {
            Category::Budget => true,
            Category::Rate if at_start && self.spec.enforcement == Enforcement::Reject => true,
            Category::Rate | Category::Concurrency => (self.spec.unit == Unit::Runs) == at_start,
            Category::Threshold => !at_start,
        }
    }
}

/// Whom a run, or one of its steps, is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct RunScope {
    pub tenant_id: String,
    pub run_id: String,
    pub project_id: String,
    pub agent_id: String,
    pub agent_groups: Vec<String>,
    pub api_key_id: String,
    pub human_actor_id: String,
    pub provider: String,
    pub model: String,
    pub tool: String,
}

impl RunScope {
    /// The server of a tool that is named `server/tool`.
    #[must_use]
    pub fn tool_server(&self) -> Option<&str> {
        self.tool.rsplit_once('/').map(|(server, _)| server)
    }

    /// The scope of a step: only a call of a model has a provider and a model, which the step names or the run has.
    #[must_use]
    pub fn of_step(self, kind: StepKind, provider: &str, model: &str, tool: &str) -> Self {
        let calls = kind == StepKind::LlmCall;
        let pick = |stated: &str, of_run: String| match () {
            () if !calls => String::new(),
            () if stated.is_empty() => of_run,
            () => stated.to_owned(),
        };
        Self {
            provider: pick(provider, self.provider),
            model: pick(model, self.model),
            tool: tool.to_owned(),
            ..self
        }
    }

    /// The scope of a step of which only the run is known.
    #[must_use]
    pub fn of_unknown_step(self) -> Self {
        Self { provider: String::new(), model: String::new(), tool: String::new(), ..self }
    }
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

/// A line of a control set: the id and version of a limit in force, and the digest of what it says.
#[must_use]
pub fn control_set_line(id: &str, version: u32, spec: &Digest) -> String {
    format!("{id}:{version}:{spec}\n")
}

/// Digest of a control set: the lines of the limits in force, in the order of their ids.
#[must_use]
pub fn control_set_digest(content: &str) -> [u8; 32] {
    Hasher::new("runspine.controlset.v1").sized(content.as_bytes()).finish().0
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
            period: Some(PeriodKind::Daily),
            utc_offset_minutes: 0,
            rollover: false,
            rollover_max_permille: 200,
            ambiguous_charge: AmbiguousCharge::Release,
            window_s: 0,
            burst: 0,
            params: Params::default(),
            degrade: Degrade::default(),
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
            provider: "openai".into(),
            model: "m".into(),
            tool: "files/read".into(),
            ..RunScope::default()
        }
    }

    #[test]
    fn only_a_call_of_a_model_has_a_provider() {
        let run = RunScope { provider: "openai".into(), model: "m".into(), ..RunScope::default() };
        let step = run.clone().of_step(StepKind::LlmCall, "", "n", "");
        assert_eq!((step.provider.as_str(), step.model.as_str()), ("openai", "n"));
        let step = run.of_step(StepKind::ToolCall, "openai", "", "files/read");
        assert_eq!((step.provider.as_str(), step.tool.as_str()), ("", "files/read"));
    }

    #[test]
    fn a_limit_applies_by_its_scope() {
        let rows = [
            (Scope::Tenant, "", Some("t")),
            (Scope::Project, "p", Some("p")),
            (Scope::Project, "q", None),
            (Scope::Project, EACH, Some("p")),
            (Scope::Agent, "g", Some("g")),
            (Scope::Agent, "h", None),
            (Scope::Agent, EACH, Some("a")),
            (Scope::ApiKey, EACH, None),
            (Scope::Run, EACH, Some("r")),
            (Scope::Global, "", Some(MESH)),
            (Scope::HumanActor, EACH, None),
            (Scope::Provider, "openai", Some("openai")),
            (Scope::Model, "other", None),
            (Scope::Tool, EACH, Some("files/read")),
            (Scope::Tool, "files", Some("files")),
            (Scope::Tool, "mail", None),
        ];
        for (scope, id, expected) in rows {
            let mut limit = sample(1, 10);
            limit.spec.scope = scope;
            limit.spec.scope_id = id.into();
            assert_eq!(limit.scope_id(&run()), expected, "{scope:?} {id}");
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
}
