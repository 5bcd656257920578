//! Slices: the rules that can match a question, compiled once and kept. Cost depends on the slice, not on how many rules
//! there are.

use std::{num::NonZeroUsize, sync::Arc};

use cedar_policy::{Entities, EntityUid};
use lru::LruCache;
use parking_lot::Mutex;
use runspine_types::Digest;

use crate::{
    approval,
    compile::{CompiledRule, CompiledSnapshot, Place, key},
    entities::{self, FactsError},
    facts::{Principal, Question, Resource, Run},
    sequence::{Hit, Monitor},
    words::{Action, ResourceType},
};

/// Most rules that a slice may hold.
pub const MAX_SLICE: usize = 500;

/// The rules for one action, principal and resource, with everything about them that does not change by question.
#[derive(Debug)]
pub struct Slice {
    /// The rules in it, by rule id.
    pub rules: Vec<Arc<CompiledRule>>,
    /// Where each of them stands in the snapshot.
    pub places: Vec<u32>,
    /// The terms of an approval that its rules do not state.
    pub approvals: approval::Defaults,
    /// Heads of monitors that can match, in the order of their rules.
    pub heads: Vec<Hit>,
    /// Monitors whose values the conditions may read.
    pub read: Vec<Arc<Monitor>>,
    /// Whether a rule is in it because its head matches. A test compares with Cedar evaluating every rule whole.
    pub trusts_heads: bool,
    /// Principal, resource and what they are in.
    pub entities: Entities,
    /// Who acts.
    pub principal: EntityUid,
    /// What is done.
    pub action: EntityUid,
    /// With what.
    pub resource: EntityUid,
    /// The facts of that.
    pub about: Resource,
}

/// For whom questions are asked, with the digest that slices are kept by.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The facts.
    pub principal: Principal,
    /// Digest of the facts.
    pub digest: Digest,
}

impl Bound {
    /// With the digest made once.
    #[must_use]
    pub fn new(principal: Principal) -> Self {
        let digest = principal.digest();
        Self { principal, digest }
    }
}

/// What a question is about.
#[must_use]
pub fn resource_of(question: &Question, run: &Run, principal: &Principal) -> Resource {
    match question {
        Question::Step(q) => q.resource.clone(),
        Question::Ended(q) => q.resource.clone(),
        Question::Start(_) => {
            let mut r = Resource::unregistered(ResourceType::Project, &principal.project.id);
            r.labels.clone_from(&principal.project.labels);
            r
        }
        Question::End(_) => {
            let mut r = Resource::unregistered(ResourceType::Run, &run.run_id);
            r.labels.clone_from(&run.labels);
            r
        }
    }
}

impl CompiledSnapshot {
    /// The rules that can match: found by action and resource, then by principal and scope.
    #[must_use]
    pub fn candidates(&self, action: Action, principal: &Principal, resource: &Resource) -> Vec<usize> {
        let mut found: Vec<usize> =
            places_of(resource, principal).iter().flat_map(|p| self.at(action, p)).collect();
        found.retain(|i| {
            let rule = &self.rules[*i];
            is_typed(&rule.resource, resource)
                && principal_fits(&rule.principal, principal)
                && rule.in_scope(principal)
        });
        found.sort_unstable();
        found
    }

    /// Compiles the slice of a question.
    ///
    /// # Errors
    /// When the facts do not fit the schema.
    pub fn slice(&self, action: Action, p: &Principal, resource: &Resource) -> Result<Slice, FactsError> {
        self.slice_of(&self.candidates(action, p, resource), action, p, resource, true)
    }

    /// Compiles these rules as a slice. Without `trusts_heads` Cedar evaluates every rule whole: how a test compares.
    ///
    /// # Errors
    /// When the facts do not fit the schema.
    pub fn slice_of(
        &self,
        found: &[usize],
        action: Action,
        p: &Principal,
        resource: &Resource,
        trusts_heads: bool,
    ) -> Result<Slice, FactsError> {
        let rules: Vec<_> = found.iter().map(|i| Arc::clone(&self.rules[*i])).collect();
        Ok(Slice {
            heads: self.heads(action, p, resource),
            read: self.read_by(&rules, p),
            places: found.iter().map(|i| u32::try_from(*i).unwrap_or(u32::MAX)).collect(),
            approvals: self.settings.approval_defaults,
            rules,
            trusts_heads,
            entities: entities::prepared(action, p, resource)?,
            principal: entities::uid("Agent", &p.agent.id)?,
            action: entities::action_uid(action)?,
            resource: entities::uid(resource.kind.as_str(), &resource.id)?,
            about: resource.clone(),
        })
    }

    /// The heads of monitors that can match, found as rules are.
    fn heads(&self, action: Action, p: &Principal, resource: &Resource) -> Vec<Hit> {
        let mut places = None;
        let mut found = Vec::new();
        for rule in self.watching_rules().filter(|r| r.in_scope(p)) {
            let Some(monitor) = &rule.monitor else { continue };
            for (role, head) in monitor.heads().filter(|(_, h)| h.actions & (1 << action.code()) != 0) {
                let places = places.get_or_insert_with(|| places_of(resource, p));
                let fits = places.contains(&key(&head.resource))
                    && is_typed(&head.resource, resource)
                    && principal_fits(&head.principal, p);
                if fits {
                    found.push(Hit { monitor: Arc::clone(monitor), role });
                }
            }
        }
        found
    }

    /// The monitors whose values these rules may read: a rule that somebody wrote may read any of them.
    fn read_by(&self, rules: &[Arc<CompiledRule>], p: &Principal) -> Vec<Arc<Monitor>> {
        let mut own = Vec::new();
        for rule in rules.iter().filter(|r| r.condition.needs.reads_monitors()) {
            match &rule.monitor {
                Some(monitor) if monitor.reads_itself_only => own.push(Arc::clone(monitor)),
                _ => return self.monitors(p),
            }
        }
        own
    }
}

/// The places at which a resource is found.
fn places_of(resource: &Resource, principal: &Principal) -> Vec<Place> {
    let kind = format!("Runspine::{}", resource.kind.as_str());
    let mut places = vec![
        Place::Any,
        Place::Type(kind.clone()),
        Place::Exact(kind.clone(), resource.id.clone()),
        Place::Under(kind, resource.id.clone(), None),
    ];
    places.extend(resource_ancestors(resource, principal).map(|(t, id)| Place::Under(t, id, None)));
    places
}

/// Whether a place asks for no type, or for that of the resource.
fn is_typed(place: &Place, resource: &Resource) -> bool {
    let of_kind = |t: &str| t.strip_prefix("Runspine::") == Some(resource.kind.as_str());
    !matches!(place, Place::Under(_, _, Some(t)) if !of_kind(t))
}

fn resource_ancestors<'a>(
    resource: &'a Resource,
    principal: &'a Principal,
) -> impl Iterator<Item = (String, String)> + 'a {
    let groups = entities::group_type(resource.kind)
        .into_iter()
        .flat_map(move |kind| resource.groups.iter().map(move |g| (format!("Runspine::{kind}"), g.clone())));
    // An agent that acts on itself or on a group of its own is in what it is in; a project is in its tenant.
    let own = match resource.kind {
        ResourceType::Project => vec![("Runspine::Tenant".to_owned(), principal.tenant_id.clone())],
        ResourceType::Agent => agent_ancestors_of(resource, principal),
        _ => Vec::new(),
    };
    groups.chain(own)
}

fn agent_ancestors_of(resource: &Resource, principal: &Principal) -> Vec<(String, String)> {
    if resource.id == principal.agent.id {
        return principal_ancestors(principal);
    }
    let shared = resource.groups.iter().any(|g| principal.agent.groups.contains(g));
    if shared { vec![("Runspine::Tenant".to_owned(), principal.tenant_id.clone())] } else { Vec::new() }
}

fn principal_ancestors(p: &Principal) -> Vec<(String, String)> {
    let mut out = vec![
        ("Runspine::Project".to_owned(), p.project.id.clone()),
        ("Runspine::Tenant".to_owned(), p.tenant_id.clone()),
    ];
    out.extend(p.agent.groups.iter().map(|g| ("Runspine::AgentGroup".to_owned(), g.clone())));
    out
}

fn principal_fits(place: &Place, p: &Principal) -> bool {
    let agent = "Runspine::Agent";
    match place {
        Place::Any => true,
        Place::Type(t) => t == agent,
        Place::Exact(t, id) => t == agent && *id == p.agent.id,
        Place::Under(t, id, kind) => {
            let typed = kind.as_deref().is_none_or(|k| k == agent);
            let own = t == agent && *id == p.agent.id;
            typed && (own || principal_ancestors(p).iter().any(|(at, aid)| at == t && aid == id))
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    snapshot: Digest,
    action: Action,
    principal: Digest,
    resource: Resource,
}

/// Compiled slices, least recently used out first.
#[derive(Debug)]
pub struct SliceCache {
    kept: Mutex<LruCache<Key, Arc<Slice>>>,
}

impl SliceCache {
    /// Keeps up to `size` slices.
    #[must_use]
    pub fn new(size: NonZeroUsize) -> Self {
        Self { kept: Mutex::new(LruCache::new(size)) }
    }

    /// The slice of a question, and whether it was kept.
    ///
    /// # Errors
    /// When the facts do not fit the schema.
    pub fn get(
        &self,
        snapshot: &CompiledSnapshot,
        action: Action,
        bound: &Bound,
        resource: Resource,
    ) -> Result<(Arc<Slice>, bool), FactsError> {
        let key = Key { snapshot: snapshot.digest, action, principal: bound.digest, resource };
        if let Some(slice) = self.kept.lock().get(&key) {
            return Ok((Arc::clone(slice), true));
        }
        let slice = Arc::new(snapshot.slice(action, &bound.principal, &key.resource)?);
        self.kept.lock().put(key, Arc::clone(&slice));
        Ok((slice, false))
    }
}
