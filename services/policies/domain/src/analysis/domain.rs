//! The requests that a rule matches.

use crate::{
    compile::{CompiledRule, Place},
    words::{Action, Scope},
};

use super::{
    atoms::{Atom, Normal},
    constraints::Constraints,
};

/// What is known of the requests that a rule matches: its head, scope and time, and its condition in normal form.
#[derive(Debug)]
pub struct Domain {
    actions: u16,
    principal: Place,
    resource: Place,
    scope: (Scope, String),
    from: i64,
    until: i64,
    /// The conjunctions that are possible, with what each leaves.
    cases: Vec<(Vec<Atom>, Constraints)>,
    /// What could not be told.
    opaque: Option<String>,
}

impl Domain {
    /// Of a rule.
    #[must_use]
    pub fn of(rule: &CompiledRule) -> Self {
        let normal = Normal::of(&rule.policy);
        let possible = |atoms: Vec<Atom>| Constraints::of(atoms.iter()).map(|c| (atoms, c));
        let m = &rule.meaning;
        Self {
            actions: rule.actions,
            principal: rule.principal.clone(),
            resource: rule.resource.clone(),
            scope: (m.scope, m.scope_id.clone()),
            from: m.effective_from.unwrap_or(i64::MIN),
            until: m.effective_until.unwrap_or(i64::MAX),
            cases: normal.conjunctions.into_iter().filter_map(possible).collect(),
            opaque: normal.opaque,
        }
    }

    /// What could not be told about its condition.
    pub(super) fn opaque(&self) -> Option<&str> {
        self.opaque.as_deref()
    }

    /// Whether no request can match.
    pub(super) fn is_empty(&self) -> bool {
        self.opaque.is_none() && (self.cases.is_empty() || self.actions == 0)
    }

    /// Whether its time is over.
    pub(super) const fn is_over(&self, now: i64) -> bool {
        self.until <= now
    }

    /// Whether nothing that it matches goes on without a grant: ends of steps and runs need none.
    pub(super) const fn needs_grant(&self) -> bool {
        let ends = 1 << Action::StepEnded.code() | 1 << Action::EndRun.code();
        self.actions & ends == 0
    }

    /// The scope, with what it is bound to.
    pub(super) const fn scope(&self) -> &(Scope, String) {
        &self.scope
    }

    /// Whether it provably matches whatever `other` matches.
    pub(super) fn includes(&self, other: &Self) -> bool {
        self.opaque.is_none()
            && other.opaque.is_none()
            && other.actions & !self.actions == 0
            && place_includes(&self.principal, &other.principal)
            && place_includes(&self.resource, &other.resource)
            && scope_includes(&self.scope, &other.scope)
            && self.from <= other.from
            && self.until >= other.until
            && other.cases.iter().all(|(_, left)| {
                self.cases.iter().any(|(atoms, _)| atoms.iter().all(|atom| left.implies(atom)))
            })
    }

    /// Whether it provably matches nothing that `other` matches.
    pub(super) fn is_apart(&self, other: &Self) -> bool {
        self.actions & other.actions == 0
            || places_apart(&self.principal, &other.principal)
            || places_apart(&self.resource, &other.resource)
            || scopes_apart(&self.scope, &other.scope)
            || self.until <= other.from
            || other.until <= self.from
            || (self.opaque.is_none() && other.opaque.is_none() && !self.meets(other))
    }

    /// Whether both provably match some request: everything about them can be told, and some case of each goes together.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.opaque.is_none() && other.opaque.is_none() && !self.is_apart(other)
    }

    fn meets(&self, other: &Self) -> bool {
        self.cases
            .iter()
            .any(|(a, _)| other.cases.iter().any(|(b, _)| Constraints::of(a.iter().chain(b)).is_some()))
    }

    /// The one bound that its condition asks of an integer, when it asks no more.
    pub(super) fn threshold(&self) -> Option<(&str, bool, i64)> {
        let [(_, only)] = self.cases.as_slice() else { return None };
        let mut all = only.thresholds();
        all.next().filter(|_| all.next().is_none())
    }
}

fn place_includes(wide: &Place, narrow: &Place) -> bool {
    match (wide, narrow) {
        (Place::Any, _) => true,
        (Place::Type(t), Place::Type(k) | Place::Exact(k, _) | Place::Under(_, _, Some(k))) => t == k,
        (Place::Under(t, id, None), Place::Under(u, other, _)) => (t, id) == (u, other),
        // An entity is in itself.
        (Place::Under(t, id, None), Place::Exact(u, other)) => (t, id) == (u, other),
        _ => wide == narrow,
    }
}

fn places_apart(a: &Place, b: &Place) -> bool {
    let kind = |p: &Place| match p {
        Place::Type(t) | Place::Exact(t, _) | Place::Under(_, _, Some(t)) => Some(t.clone()),
        Place::Any | Place::Under(_, _, None) => None,
    };
    if let (Place::Exact(_, x), Place::Exact(_, y)) = (a, b)
        && x != y
    {
        return true;
    }
    kind(a).zip(kind(b)).is_some_and(|(x, y)| x != y)
}

fn scope_includes(wide: &(Scope, String), narrow: &(Scope, String)) -> bool {
    matches!(wide.0, Scope::Global | Scope::Tenant) || wide == narrow
}

fn scopes_apart(a: &(Scope, String), b: &(Scope, String)) -> bool {
    // An agent, a person or a key can be meant by several ids (its groups); a run has one project and one key.
    a.0 == b.0 && matches!(a.0, Scope::Project | Scope::ApiKey) && a.1 != b.1
}
