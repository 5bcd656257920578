//! What rules in force depend on each other.

use std::collections::BTreeSet;

use cedar_policy::Policy;
use serde_json::Value;

use super::{atoms::path, domain::Domain};
use crate::{
    compile::{BASELINE_ID, CompiledRule, CompiledSnapshot},
    words::DependencyKind,
};

/// That a rule depends on another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// The rule, and its version.
    pub rule: (String, u32),
    /// The other, and its version.
    pub other: (String, u32),
    /// Why.
    pub kind: DependencyKind,
    /// What they share.
    pub detail: String,
}

/// A rule with what it may share.
struct Known<'a> {
    rule: &'a CompiledRule,
    domain: Domain,
    reads: BTreeSet<String>,
    /// The monitors that it reads, by name.
    monitors: Vec<&'a str>,
}

/// The first `most` edges of a set, or of those that one rule has part in, in order.
#[must_use]
pub fn dependencies(set: &CompiledSnapshot, only: Option<&str>, most: usize) -> Vec<Dependency> {
    let names: Vec<&str> =
        set.watching_rules().filter_map(|r| r.monitor.as_ref()).map(|m| m.name.as_str()).collect();
    // The grant that a setting adds goes with every rule, which says nothing.
    let rules = set.rules.iter().filter(|r| r.meaning.rule_id != BASELINE_ID);
    let mut known: Vec<Known<'_>> = rules.map(|rule| Known::of(rule, &names)).collect();
    known.sort_by_key(Known::named);
    let one = only.map(|id| known.iter().position(|k| k.id() == id));
    let mut found = Vec::new();
    // Edges are in the order of their rules: of a large set only as many rules are looked at as it takes.
    for (n, a) in known.iter().enumerate() {
        let others = match one {
            Some(None) => 0..0,
            Some(Some(one)) if one != n => one..one + 1,
            _ => 0..known.len(),
        };
        let begun = found.len();
        for m in others.filter(|m| *m != n) {
            explicit(a, &known[m], &mut found);
            if n < m {
                implicit(a, &known[m], &mut found);
            }
        }
        found[begun..].sort();
        if found.len() >= most {
            break;
        }
    }
    found.truncate(most);
    found
}

impl<'a> Known<'a> {
    fn of(rule: &'a CompiledRule, names: &[&'a str]) -> Self {
        let text = rule.meaning.cedar.as_str();
        let mentions = |name: &&&str| text.contains(&format!("\"{name}\""));
        Self {
            rule,
            domain: Domain::of(rule),
            reads: reads(&rule.policy),
            monitors: names.iter().filter(mentions).copied().collect(),
        }
    }

    fn id(&self) -> &str {
        &self.rule.meaning.rule_id
    }

    fn named(&self) -> (String, u32) {
        (self.id().to_owned(), self.rule.meaning.version)
    }

    fn scope(&self) -> String {
        let (scope, id) = self.domain.scope();
        if id.is_empty() { scope.as_str().to_owned() } else { format!("{} {id}", scope.as_str()) }
    }
}

fn explicit(reader: &Known<'_>, other: &Known<'_>, found: &mut Vec<Dependency>) {
    let Some(monitor) = &other.rule.monitor else { return };
    if reader.monitors.contains(&monitor.name.as_str()) {
        let kind = DependencyKind::Explicit;
        found.push(Dependency {
            rule: reader.named(),
            other: other.named(),
            kind,
            detail: monitor.name.clone(),
        });
    }
}

fn implicit(a: &Known<'_>, b: &Known<'_>, found: &mut Vec<Dependency>) {
    // What is apart is never asked about at once.
    if a.domain.is_apart(&b.domain) {
        return;
    }
    let edge = |kind, detail| Dependency { rule: a.named(), other: b.named(), kind, detail };
    if a.domain.scope() != b.domain.scope() {
        found.push(edge(DependencyKind::ImplicitScope, format!("{} and {}", a.scope(), b.scope())));
    }
    let shared: Vec<&str> = a.reads.intersection(&b.reads).map(String::as_str).collect();
    if !shared.is_empty() {
        found.push(edge(DependencyKind::ImplicitAttribute, shared.join(", ")));
    }
}

/// The longest paths that the conditions of a policy read.
pub(super) fn reads(policy: &Policy) -> BTreeSet<String> {
    let json = policy.to_json().unwrap_or_default();
    let mut reads = BTreeSet::new();
    collect(json.get("conditions").unwrap_or(&Value::Null), &mut reads);
    reads
}

/// The longest paths that an expression reads.
fn collect(expr: &Value, into: &mut BTreeSet<String>) {
    if let Some(path) = path(expr).filter(|p| p.contains('.')) {
        into.insert(path);
        return;
    }
    match expr {
        Value::Object(map) => map.values().for_each(|v| collect(v, into)),
        Value::Array(items) => items.iter().for_each(|v| collect(v, into)),
        _ => {}
    }
}
