//! Facts in the form that Cedar reads. Only what the rules of a slice mention is built.

use std::collections::{BTreeMap, HashSet};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, RestrictedExpression as Value,
};

use crate::facts::{Arguments, Estimate, Inputs, Principal, Question, Resource, Run, Totals};
use crate::words::{Action, ResourceType};

/// The parts of a context, in the order of their bits.
const PARTS: [&str; 27] = [
    "run",
    "step_index",
    "totals",
    "estimate",
    "now",
    "arguments_digest",
    "arguments_size",
    "arguments",
    "intent",
    "mode",
    "method",
    "monitors",
    "outcome",
    "error_code",
    "retry_count",
    "cost_microusd",
    "tokens",
    "duration_ms",
    "output_size",
    "output_labels",
    "authorized",
    "goal_digest",
    "requested",
    "declared_tools",
    "termination_reason",
    "human",
    "api_key",
];

/// Which parts of the context a rule reads: a superset, never too little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs(u32);

impl Needs {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(u32::MAX);

    /// What a policy reads. A name stands literally in the text unless it is escaped, and the context can only be read
    /// by name unless it stands alone; in both exceptions everything is built.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        if !policy.has_non_scope_constraint() {
            return Self::NONE;
        }
        let text = policy.to_string();
        if text.contains('\\') || mentions_whole_context(&text) {
            return Self::ALL;
        }
        let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
        let words: HashSet<&str> = text.split(word).collect();
        Self(PARTS.iter().enumerate().filter(|(_, p)| words.contains(*p)).fold(0, |m, (i, _)| m | 1 << i))
    }

    /// What both read.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the selected arguments are read.
    #[must_use]
    pub fn reads_arguments(self) -> bool {
        self.has("arguments")
    }

    /// Whether values of monitors are read.
    #[must_use]
    pub fn reads_monitors(self) -> bool {
        self.has("monitors")
    }

    fn has(self, part: &str) -> bool {
        PARTS.iter().position(|p| *p == part).is_some_and(|i| self.0 & (1 << i) != 0)
    }
}

fn mentions_whole_context(text: &str) -> bool {
    text.match_indices("context").any(|(at, word)| {
        let rest = text[at + word.len()..].trim_start();
        !(rest.starts_with('.') || rest.starts_with('[') || rest.starts_with("has "))
    })
}

/// Something of the mesh's own facts that Cedar does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the facts do not fit the schema: {0}")]
pub struct FactsError(pub String);

fn wrong(e: impl std::fmt::Display) -> FactsError {
    FactsError(e.to_string())
}

/// The id of an entity of the schema.
///
/// # Errors
/// Never for the types of the schema.
pub fn uid(kind: &str, id: &str) -> Result<EntityUid, FactsError> {
    let name: EntityTypeName = format!("Runspine::{kind}").parse().map_err(wrong)?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

/// The id of an action.
///
/// # Errors
/// Never.
pub fn action_uid(action: Action) -> Result<EntityUid, FactsError> {
    uid("Action", action.as_str())
}

/// The type of the groups of a resource.
#[must_use]
pub const fn group_type(kind: ResourceType) -> Option<&'static str> {
    match kind {
        ResourceType::Model => Some("ModelFamily"),
        ResourceType::Tool => Some("ToolGroup"),
        ResourceType::Data => Some("DataDomain"),
        ResourceType::Agent => Some("AgentGroup"),
        ResourceType::Endpoint | ResourceType::Project | ResourceType::Run => None,
    }
}

fn text(s: &str) -> Value {
    Value::new_string(s.to_owned())
}

fn set(items: &[String]) -> Value {
    Value::new_set(items.iter().map(|s| text(s)))
}

fn record<const N: usize>(fields: [(&str, Value); N]) -> Result<Value, FactsError> {
    Value::new_record(fields.map(|(k, v)| (k.to_owned(), v))).map_err(wrong)
}

fn entity<const N: usize>(
    id: EntityUid,
    attrs: [(&str, Value); N],
    parents: Vec<EntityUid>,
) -> Result<Entity, FactsError> {
    let attrs = attrs.map(|(k, v)| (k.to_owned(), v));
    Entity::new_with_tags(id, attrs, parents, []).map_err(wrong)
}

/// The entities that stay the same for every question about one action, principal and resource.
///
/// # Errors
/// When the facts do not fit.
pub fn prepared(action: Action, p: &Principal, resource: &Resource) -> Result<Entities, FactsError> {
    let tenant = uid("Tenant", &p.tenant_id)?;
    let project = uid("Project", &p.project.id)?;
    let mut out: BTreeMap<String, Entity> = BTreeMap::new();
    let mut add = |e: Entity| {
        out.entry(e.uid().to_string()).or_insert(e);
    };
    add(agent_entity(p, &project)?);
    add(entity(project, [("labels", set(&p.project.labels))], vec![tenant.clone()])?);
    for group in &p.agent.groups {
        add(entity(uid("AgentGroup", group)?, [], vec![tenant.clone()])?);
    }
    add(entity(tenant, [("plan", text("")), ("labels", set(&[]))], vec![])?);
    if let Some(h) = &p.human {
        let teams: Result<Vec<_>, _> = h.teams.iter().map(|t| uid("Team", t)).collect();
        let attrs = [("level", Value::new_long(h.level.into())), ("labels", set(&h.labels))];
        add(entity(uid("Human", &h.id)?, attrs, teams?)?);
    }
    if let Some(k) = &p.api_key {
        add(entity(
            uid("ApiKey", &k.id)?,
            [("labels", set(&k.labels))],
            vec![uid("Project", &p.project.id)?],
        )?);
    }
    add(resource_entity(resource, p)?);
    if action.is_step() {
        // The group is known to Cedar only by the entities that are in it.
        add(entity(action_uid(action)?, [], vec![uid("Action", "step")?])?);
    }
    for empty in ["TextArgs", "NumberArgs", "ListArgs", "Monitors"] {
        add(Entity::with_uid(uid(empty, "none")?));
    }
    Entities::from_entities(out.into_values(), None).map_err(wrong)
}

fn agent_entity(p: &Principal, project: &EntityUid) -> Result<Entity, FactsError> {
    let mut parents = vec![project.clone()];
    for group in &p.agent.groups {
        parents.push(uid("AgentGroup", group)?);
    }
    let mut attrs = vec![
        ("version".to_owned(), text(&p.agent.version)),
        ("risk".to_owned(), Value::new_long(p.agent.risk.into())),
        ("labels".to_owned(), set(&p.agent.labels)),
    ];
    if !p.agent.owner.is_empty() {
        attrs.push(("owner".to_owned(), text(&p.agent.owner)));
    }
    Entity::new_with_tags(uid("Agent", &p.agent.id)?, attrs, parents, []).map_err(wrong)
}

fn resource_entity(r: &Resource, p: &Principal) -> Result<Entity, FactsError> {
    let id = uid(r.kind.as_str(), &r.id)?;
    let parents = match group_type(r.kind) {
        Some(kind) => r.groups.iter().map(|g| uid(kind, g)).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let labels = ("labels", set(&r.labels));
    match r.kind {
        ResourceType::Model => entity(id, [("provider", text(&r.provider)), labels], parents),
        ResourceType::Data => {
            entity(id, [("sensitivity", Value::new_long(r.sensitivity.into())), labels], parents)
        }
        ResourceType::Endpoint => {
            entity(id, [("host", text(&r.host)), ("scheme", text(&r.scheme)), labels], parents)
        }
        ResourceType::Agent => {
            let risk = ("risk", Value::new_long(r.risk.into()));
            entity(id, [("version", text(&r.version)), risk, labels], parents)
        }
        ResourceType::Tool => {
            let risk = ("risk", Value::new_long(r.risk.into()));
            let effects = ("side_effects", Value::new_bool(r.side_effects));
            entity(id, [("server", text(&r.server)), risk, effects, labels], parents)
        }
        ResourceType::Project => entity(id, [labels], vec![uid("Tenant", &p.tenant_id)?]),
        ResourceType::Run => entity(id, [labels], parents),
    }
}

/// The entities that hold the selected arguments of one step; `None` when there are none.
///
/// # Errors
/// When the facts do not fit.
pub fn argument_entities(a: &Arguments) -> Result<Option<Vec<Entity>>, FactsError> {
    if a.text.is_empty() && a.number.is_empty() && a.list.is_empty() {
        return Ok(None);
    }
    let tagged = |kind: &str, tags: Vec<(String, Value)>| {
        Entity::new_with_tags(uid(kind, "step")?, [], [], tags).map_err(wrong)
    };
    let texts = a.text.iter().map(|(k, v)| (k.clone(), text(v))).collect();
    let numbers = a.number.iter().map(|(k, v)| (k.clone(), Value::new_long(*v))).collect();
    let lists = a.list.iter().map(|(k, v)| (k.clone(), set(v))).collect();
    let all = [tagged("TextArgs", texts)?, tagged("NumberArgs", numbers)?, tagged("ListArgs", lists)?];
    Ok(Some(all.into()))
}

/// The entity that holds the values of monitors; `None` when there are none.
///
/// # Errors
/// When the values do not fit.
pub fn monitor_entity(values: &BTreeMap<String, i64>) -> Result<Option<Entity>, FactsError> {
    if values.is_empty() {
        return Ok(None);
    }
    let tags = values.iter().map(|(name, value)| (name.clone(), Value::new_long(*value)));
    Entity::new_with_tags(uid("Monitors", "step")?, [], [], tags).map(Some).map_err(wrong)
}

/// The parts of the context that are needed.
///
/// # Errors
/// When the facts do not fit.
pub fn context(inputs: &Inputs<'_>, needs: Needs) -> Result<Context, FactsError> {
    let mut pairs: Vec<(String, Value)> = Vec::with_capacity(16);
    let mut add = |name: &str, value: &dyn Fn() -> Result<Value, FactsError>| {
        if needs.has(name) {
            pairs.push((name.to_owned(), value()?));
        }
        Ok::<(), FactsError>(())
    };
    let long = |n: i64| Ok(Value::new_long(n));
    add("run", &|| run_record(&inputs.run, &inputs.principal))?;
    add("now", &|| clock(inputs.now))?;
    let monitors = if inputs.monitors.is_empty() { "none" } else { "step" };
    add("monitors", &|| Ok(Value::new_entity_uid(uid("Monitors", monitors)?)))?;
    match &inputs.question {
        Question::Step(q) => {
            add("step_index", &|| long(q.step_index.into()))?;
            add("totals", &|| totals(&q.totals))?;
            add("estimate", &|| estimate(&q.estimate))?;
            add("arguments_digest", &|| Ok(text(&q.arguments_digest)))?;
            add("arguments_size", &|| long(q.arguments_size))?;
            add("arguments", &|| arguments(&q.arguments))?;
            for (name, word) in [("intent", &q.intent), ("mode", &q.mode), ("method", &q.method)] {
                if !word.is_empty() {
                    add(name, &|| Ok(text(word)))?;
                }
            }
        }
        Question::Ended(q) => {
            add("step_index", &|| long(q.step_index.into()))?;
            add("totals", &|| totals(&q.totals))?;
            add("outcome", &|| Ok(text(q.outcome.as_str())))?;
            if !q.error_code.is_empty() {
                add("error_code", &|| Ok(text(&q.error_code)))?;
            }
            add("retry_count", &|| long(q.retry_count.into()))?;
            add("cost_microusd", &|| long(q.cost_microusd))?;
            add("tokens", &|| long(q.tokens_input.saturating_add(q.tokens_output)))?;
            add("duration_ms", &|| long(q.duration_ms))?;
            add("output_size", &|| long(q.output_size))?;
            add("output_labels", &|| Ok(set(&q.output_labels)))?;
            add("authorized", &|| Ok(Value::new_bool(q.authorized)))?;
        }
        Question::Start(q) => {
            add("goal_digest", &|| Ok(text(&q.goal_digest)))?;
            add("requested", &|| estimate(&q.requested))?;
            add("declared_tools", &|| Ok(set(&q.declared_tools)))?;
        }
        Question::End(q) => {
            add("totals", &|| totals(&q.totals))?;
            add("outcome", &|| Ok(text(&q.outcome)))?;
            add("termination_reason", &|| Ok(text(&q.termination_reason)))?;
        }
    }
    Context::from_pairs(pairs).map_err(wrong)
}

fn run_record(run: &Run, p: &Principal) -> Result<Value, FactsError> {
    let mut fields = vec![
        ("attempt".to_owned(), Value::new_long(run.attempt.into())),
        ("delegation_depth".to_owned(), Value::new_long(run.delegation_depth.into())),
        ("priority".to_owned(), Value::new_long(run.priority.into())),
        ("elapsed_ms".to_owned(), Value::new_long(run.elapsed_ms)),
        ("is_synthetic".to_owned(), Value::new_bool(run.is_synthetic)),
        ("degraded".to_owned(), Value::new_bool(run.degraded)),
        ("source".to_owned(), text(&run.source)),
        ("actor_type".to_owned(), text(&run.actor_type)),
        ("labels".to_owned(), set(&run.labels)),
        ("taints".to_owned(), set(&run.taints)),
    ];
    if let Some(human) = &p.human {
        fields.push(("human".to_owned(), Value::new_entity_uid(uid("Human", &human.id)?)));
    }
    if let Some(key) = &p.api_key {
        fields.push(("api_key".to_owned(), Value::new_entity_uid(uid("ApiKey", &key.id)?)));
    }
    Value::new_record(fields).map_err(wrong)
}

fn totals(t: &Totals) -> Result<Value, FactsError> {
    record([
        ("cost_microusd", Value::new_long(t.cost_microusd)),
        ("tokens_input", Value::new_long(t.tokens_input)),
        ("tokens_output", Value::new_long(t.tokens_output)),
        ("tokens", Value::new_long(t.tokens_input.saturating_add(t.tokens_output))),
        ("steps", Value::new_long(t.steps)),
        ("llm_calls", Value::new_long(t.llm_calls)),
        ("tool_calls", Value::new_long(t.tool_calls)),
        ("failures", Value::new_long(t.failures)),
        ("denials", Value::new_long(t.denials)),
        ("duration_ms", Value::new_long(t.duration_ms)),
    ])
}

fn estimate(e: &Estimate) -> Result<Value, FactsError> {
    record([
        ("cost_microusd", Value::new_long(e.cost_microusd)),
        ("tokens_input", Value::new_long(e.tokens_input)),
        ("tokens_output", Value::new_long(e.tokens_output)),
        ("duration_ms", Value::new_long(e.duration_ms)),
    ])
}

fn arguments(a: &Arguments) -> Result<Value, FactsError> {
    let none = a.text.is_empty() && a.number.is_empty() && a.list.is_empty();
    let id = if none { "none" } else { "step" };
    record([
        ("text", Value::new_entity_uid(uid("TextArgs", id)?)),
        ("number", Value::new_entity_uid(uid("NumberArgs", id)?)),
        ("list", Value::new_entity_uid(uid("ListArgs", id)?)),
        ("flags", set(&a.flags)),
    ])
}

/// What the clock of a day shows.
pub(crate) struct OfDay {
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    /// 1 Monday to 7 Sunday.
    pub(crate) weekday: i64,
}

/// The clock at `at`, microseconds, in UTC: the days are counted without a calendar crate, so that nothing here depends
/// on a time zone database.
pub(crate) const fn of_day(at: i64) -> OfDay {
    let minutes = at.div_euclid(60_000_000);
    // 1970-01-01 was a Thursday: 4, with Monday as 1.
    let weekday = (minutes.div_euclid(1_440) + 3).rem_euclid(7) + 1;
    OfDay { hour: minutes.rem_euclid(1_440) / 60, minute: minutes.rem_euclid(60), weekday }
}

fn clock(at: i64) -> Result<Value, FactsError> {
    let OfDay { hour, minute, weekday } = of_day(at);
    let (year, month, day) = civil(at.div_euclid(86_400_000_000));
    let (second, ms) = (at.div_euclid(1_000_000).rem_euclid(60), at.div_euclid(1_000).rem_euclid(1_000));
    let text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z");
    record([
        ("at", Value::new_datetime(text)),
        ("hour", Value::new_long(hour)),
        ("minute", Value::new_long(minute)),
        ("weekday", Value::new_long(weekday)),
    ])
}

/// Year, month and day of days since 1970-01-01, by the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_778), (2026, 11, 21));
    }
}
