//! `deny.toml` without cargo-deny: the bans hold, the core crates exist once, everything comes from the registry.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::{Inspection, graph::Graph};

/// The list of bans of `deny.toml`, each of which must have a reason.
///
/// # Errors
/// When the text is no TOML or has no bans.
pub fn bans(deny_toml: &str) -> Result<Vec<Ban>, String> {
    let root: Table = deny_toml.parse().map_err(|e: toml::de::Error| e.to_string())?;
    let list = root.get("bans").and_then(|b| b.get("deny")).and_then(Value::as_array);
    list.ok_or("deny.toml has no bans.deny")?.iter().map(ban).collect()
}

fn ban(entry: &Value) -> Result<Ban, String> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, reason) = (text("crate"), text("reason"));
    if name.is_empty() || reason.is_empty() {
        return Err(format!("a ban needs a crate and a reason: {entry}"));
    }
    let wrappers = entry.get("wrappers").and_then(Value::as_array).into_iter().flatten();
    Ok(Ban {
        name,
        reason,
        wrappers: wrappers.filter_map(Value::as_str).map(str::to_owned).collect(),
        once: entry.get("deny-multiple-versions").and_then(Value::as_bool).unwrap_or(false),
    })
}

/// One entry of `bans.deny`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// The crate.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Those who may depend on it all the same.
    pub wrappers: BTreeSet<String>,
    /// Not banned: it may exist, in one version.
    pub once: bool,
}

/// No banned crate is in the graph but below its wrappers, and none of the core crates is there twice. Inspects bans.
#[must_use]
pub fn hold(graph: &Graph, bans: &[Ban]) -> Inspection {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in graph.packages() {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    let mut seen = Inspection::default();
    for ban in bans {
        seen.saw();
        let found = versions.get(ban.name.as_str());
        match found {
            None if ban.once => seen.object(format!("{} is not in the graph: drop its entry", ban.name)),
            Some(all) if ban.once && all.len() > 1 => {
                seen.object(format!("{} is there in {} versions: {}", ban.name, all.len(), ban.reason));
            }
            Some(_) if !ban.once => {
                let users = users(graph, &ban.name).filter(|user| !ban.wrappers.contains(*user));
                seen.violations.extend(users.map(|u| format!("{u} brings {}: {}", ban.name, ban.reason)));
            }
            _ => {}
        }
    }
    seen
}

fn users<'a>(graph: &'a Graph, name: &'a str) -> impl Iterator<Item = &'a str> {
    let uses = move |package: &&crate::graph::Package| {
        graph.dependencies(package).any(|(dependency, _)| dependency.name == name)
    };
    graph.packages().filter(uses).map(|package| package.name.as_str())
}

/// Every crate is of this tree or from the registry. Inspects packages.
#[must_use]
pub fn sources(graph: &Graph) -> Inspection {
    let mut seen = Inspection::default();
    for package in graph.packages() {
        let known = package.source.is_empty() || package.source.starts_with("registry+");
        seen.require(known, || format!("{} comes from {}", package.name, package.source));
    }
    seen
}
