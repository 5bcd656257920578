//! Rules and snapshots in the form they are evaluated in.

use std::{collections::HashMap, sync::Arc};

use cedar_policy::{ActionConstraint, EntityUid, Policy, PrincipalConstraint, ResourceConstraint};
use runspine_types::{Digest, PLATFORM_TENANT};

use crate::{
    condition::Condition,
    facts::Principal,
    rule::{Meaning, rule_digest},
    sequence::Monitor,
    settings::Settings,
    text::Notes,
    words::{Action, Category, Mode, Outcome, Scope},
};

/// Id of the grant that the setting `baseline_grant` adds.
pub const BASELINE_ID: &str = "sys.baseline";

const BASELINE_TEXT: &str = "@id(\"sys.baseline\")\n@reason(\"BASELINE_GRANT\")\n\
    @message(\"The tenant is open by its setting baseline_grant.\")\npermit(principal, action, resource);\n";

/// What a head says about the principal or the resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// Anything.
    Any,
    /// Anything of a type.
    Type(String),
    /// One entity: type and id.
    Exact(String, String),
    /// An entity or what is in it: type and id of the ancestor, and the type that is asked for, if any.
    Under(String, String, Option<String>),
}

/// A rule, ready to be evaluated.
#[derive(Debug)]
pub struct CompiledRule {
    /// What it says.
    pub meaning: Meaning,
    /// Its digest.
    pub digest: Digest,
    /// Its annotations.
    pub notes: Notes,
    /// Its policy.
    pub policy: Policy,
    /// Bit n: action n is in its head.
    pub actions: u16,
    /// Its resource.
    pub resource: Place,
    /// Its principal.
    pub principal: Place,
    /// When it matches, its head apart.
    pub condition: Condition,
    /// What watches steps for it; none: it is no sequence rule.
    pub monitor: Option<Arc<Monitor>>,
}

impl CompiledRule {
    /// Compiles stored bytes; the error is what is wrong with them, for an operator.
    ///
    /// # Errors
    /// When the bytes are not a rule or its text does not fit the schema any more.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let meaning = Meaning::from_bytes(bytes).ok_or("the stored bytes are no rule")?;
        Self::new(meaning, rule_digest(bytes))
    }

    /// Compiles a rule.
    ///
    /// # Errors
    /// When its text has a blocking finding.
    pub fn new(meaning: Meaning, digest: Digest) -> Result<Self, String> {
        let checked = meaning.check();
        let Some(parsed) = checked.parsed else {
            let first = checked.findings.into_iter().next().map(|f| f.message);
            return Err(first.unwrap_or_else(|| "the text can't be activated".to_owned()));
        };
        let policy = parsed.policy;
        let monitor = meaning.sequence.as_ref().map(|body| Monitor::new(&meaning, body)).transpose()?;
        let (actions, resource, principal) = head_of(&policy);
        Ok(Self {
            monitor: monitor.map(Arc::new),
            actions,
            resource,
            principal,
            condition: Condition::of(&policy)?,
            notes: parsed.notes,
            policy,
            meaning,
            digest,
        })
    }

    /// The grant of the setting `baseline_grant`.
    ///
    /// # Errors
    /// Never: its text is fixed and tested.
    pub fn baseline() -> Result<Self, String> {
        let meaning = Meaning {
            category: Category::System,
            cedar: BASELINE_TEXT.to_owned(),
            effective_from: None,
            effective_until: None,
            format: 1,
            mode: Mode::Block,
            precedence: 0,
            rule_id: BASELINE_ID.to_owned(),
            scope: Scope::Global,
            scope_id: String::new(),
            sequence: None,
            slug: BASELINE_ID.to_owned(),
            tenant_id: PLATFORM_TENANT.to_owned(),
            version: 1,
        };
        let digest = rule_digest(&meaning.bytes());
        Self::new(meaning, digest)
    }

    /// Whether it grants.
    #[must_use]
    pub fn is_grant(&self) -> bool {
        self.notes.outcome == Outcome::Grant
    }

    /// Whether it is bound to runs of this principal.
    #[must_use]
    pub fn in_scope(&self, p: &Principal) -> bool {
        let id = self.meaning.scope_id.as_str();
        match self.meaning.scope {
            Scope::Global | Scope::Tenant => true,
            Scope::Project => p.project.id == id,
            Scope::Agent => p.agent.id == id || p.agent.groups.iter().any(|g| g == id),
            Scope::ApiKey => p.api_key.as_ref().is_some_and(|k| k.id == id),
            Scope::HumanActor => {
                p.human.as_ref().is_some_and(|h| h.id == id || h.teams.iter().any(|t| t == id))
            }
        }
    }
}

/// The actions, the resource and the principal of a policy's head.
pub(crate) fn head_of(policy: &Policy) -> (u16, Place, Place) {
    (actions_of(policy), resource_of(policy), principal_of(policy))
}

/// Where a rule is found: `action|resource|principal`, one for each action of its head.
#[must_use]
pub fn slice_keys(policy: &Policy) -> Vec<String> {
    let mask = actions_of(policy);
    let (resource, principal) = (resource_of(policy).to_string(), principal_of(policy).to_string());
    let in_head = Action::ALL.iter().filter(|a| mask & (1 << a.code()) != 0);
    in_head.map(|a| format!("{}|{resource}|{principal}", a.as_str())).collect()
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Type(t) => write!(f, "is {t}"),
            Self::Exact(t, id) => write!(f, "{t}::{id:?}"),
            Self::Under(t, id, None) => write!(f, "in {t}::{id:?}"),
            Self::Under(t, id, Some(kind)) => write!(f, "is {kind} in {t}::{id:?}"),
        }
    }
}

fn actions_of(policy: &Policy) -> u16 {
    let all = (1 << Action::ALL.len()) - 1;
    let of = |uid: &EntityUid| match uid.id().unescaped() {
        "step" => Action::ALL.iter().filter(|a| a.is_step()).fold(0, |m, a| m | 1 << a.code()),
        name => Action::from_text(name).map_or(0, |a| 1 << a.code()),
    };
    match policy.action_constraint() {
        ActionConstraint::Any => all,
        // `action == step` is an action that nobody ever asks about.
        ActionConstraint::Eq(uid) => Action::from_text(uid.id().unescaped()).map_or(0, |a| 1 << a.code()),
        ActionConstraint::In(uids) => uids.iter().fold(0, |mask, uid| mask | of(uid)),
    }
}

fn exact(uid: &EntityUid) -> (String, String) {
    (uid.type_name().to_string(), uid.id().unescaped().to_owned())
}

fn resource_of(policy: &Policy) -> Place {
    match policy.resource_constraint() {
        ResourceConstraint::Any => Place::Any,
        ResourceConstraint::Is(t) => Place::Type(t.to_string()),
        ResourceConstraint::Eq(u) => Place::Exact(exact(&u).0, exact(&u).1),
        ResourceConstraint::In(u) => Place::Under(exact(&u).0, exact(&u).1, None),
        ResourceConstraint::IsIn(t, u) => Place::Under(exact(&u).0, exact(&u).1, Some(t.to_string())),
    }
}

fn principal_of(policy: &Policy) -> Place {
    match policy.principal_constraint() {
        PrincipalConstraint::Any => Place::Any,
        PrincipalConstraint::Is(t) => Place::Type(t.to_string()),
        PrincipalConstraint::Eq(u) => Place::Exact(exact(&u).0, exact(&u).1),
        PrincipalConstraint::In(u) => Place::Under(exact(&u).0, exact(&u).1, None),
        PrincipalConstraint::IsIn(t, u) => Place::Under(exact(&u).0, exact(&u).1, Some(t.to_string())),
    }
}

/// A snapshot, ready to be evaluated: its rules behind an index by action and resource.
#[derive(Debug)]
pub struct CompiledSnapshot {
    /// Its digest.
    pub digest: Digest,
    /// Its settings.
    pub settings: Settings,
    /// Its rules by rule id, the baseline grant among them.
    pub rules: Vec<Arc<CompiledRule>>,
    /// Per action: rules by the resource of their head.
    index: Vec<HashMap<Place, Vec<usize>>>,
    /// The rules that watch steps: places in `rules`.
    watching: Vec<usize>,
}

impl CompiledSnapshot {
    /// Puts rules behind an index.
    ///
    /// # Errors
    /// Never in practice: only the fixed text of the baseline grant is compiled here.
    pub fn new(digest: Digest, settings: Settings, rules: Vec<Arc<CompiledRule>>) -> Result<Self, String> {
        let mut rules = rules;
        if settings.baseline_grant {
            rules.push(Arc::new(CompiledRule::baseline()?));
        }
        rules.sort_by(|a, b| a.meaning.rule_id.cmp(&b.meaning.rule_id));
        let mut index = vec![HashMap::<Place, Vec<usize>>::new(); Action::ALL.len()];
        for (i, rule) in rules.iter().enumerate() {
            for (action, by_place) in index.iter_mut().enumerate() {
                if rule.actions & (1 << action) != 0 {
                    by_place.entry(key(&rule.resource)).or_default().push(i);
                }
            }
        }
        let watching = (0..rules.len()).filter(|i| rules[*i].monitor.is_some()).collect();
        Ok(Self { digest, settings, rules, index, watching })
    }

    /// The rules of an action whose head names one of these places.
    pub(crate) fn at<'a>(&'a self, action: Action, place: &Place) -> impl Iterator<Item = usize> + 'a {
        let found = usize::try_from(action.code()).ok().and_then(|a| self.index[a].get(place));
        found.into_iter().flatten().copied()
    }

    /// The rules that watch steps.
    pub fn watching_rules(&self) -> impl Iterator<Item = &Arc<CompiledRule>> {
        self.watching.iter().map(|i| &self.rules[*i])
    }

    /// What watches the steps of this principal.
    #[must_use]
    pub fn monitors(&self, p: &Principal) -> Vec<Arc<Monitor>> {
        self.watching_rules().filter(|r| r.in_scope(p)).filter_map(|r| r.monitor.clone()).collect()
    }

    /// How many rules the largest slice that `rule` can be in would hold, by its own head and scope.
    #[must_use]
    pub fn slice_bound(&self, rule: &CompiledRule) -> usize {
        let fits = |a: &Place, b: &Place| match (a, b) {
            (Place::Any | Place::Type(_), _) | (_, Place::Any | Place::Type(_)) => true,
            _ => key(a) == key(b),
        };
        let together = |other: &&Arc<CompiledRule>, action: usize| {
            let scoped = matches!(other.meaning.scope, Scope::Global | Scope::Tenant)
                || (other.meaning.scope == rule.meaning.scope
                    && other.meaning.scope_id == rule.meaning.scope_id);
            other.actions & (1 << action) != 0
                && scoped
                && fits(&other.resource, &rule.resource)
                && (fits(&other.principal, &rule.principal))
                && !matches!(
                    (&other.resource, &rule.resource),
                    (Place::Exact(..) | Place::Under(..), Place::Any)
                )
        };
        (0..Action::ALL.len())
            .filter(|a| rule.actions & (1 << a) != 0)
            .map(|a| self.rules.iter().filter(|other| together(other, a)).count())
            .max()
            .unwrap_or(0)
    }
}

/// The place as the index knows it: what type is asked for below an ancestor is looked at later.
pub(crate) fn key(place: &Place) -> Place {
    match place {
        Place::Under(t, id, _) => Place::Under(t.clone(), id.clone(), None),
        other => other.clone(),
    }
}
