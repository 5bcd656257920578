//! The dependency graph, as `cargo metadata` tells it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a dependency is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The crate itself.
    Normal,
    /// Its build script.
    Build,
    /// Its tests.
    Dev,
}

/// A package of the graph.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it comes from; empty for a folder of this tree.
    pub source: String,
    /// Ids of what it depends on.
    pub edges: BTreeSet<(String, Kind)>,
}

/// All packages, by the id that cargo gives them.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    packages: BTreeMap<String, Package>,
    members: BTreeSet<String>,
}

impl Graph {
    /// Reads what `cargo metadata --format-version 1` printed.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(json: &str) -> Result<Self, String> {
        let root: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
        let mut graph = Self::default();
        for package in list(&root, "packages")? {
            let (id, name) = (text(package, "id")?, text(package, "name")?);
            let source = package.get("source").and_then(Value::as_str).unwrap_or_default();
            let (version, source) = (text(package, "version")?.to_owned(), source.to_owned());
            let package = Package { name: name.to_owned(), version, source, edges: BTreeSet::new() };
            graph.packages.insert(id.to_owned(), package);
        }
        for member in list(&root, "workspace_members")? {
            graph.members.insert(member.as_str().ok_or("a member is no string")?.to_owned());
        }
        let resolve = root.get("resolve").ok_or("no resolve: was --no-deps given?")?;
        let nodes = list(resolve, "nodes")?;
        for node in nodes {
            let edges = edges(node)?;
            let package = graph.packages.get_mut(text(node, "id")?).ok_or("a node without a package")?;
            package.edges = edges;
        }
        // Packages of other platforms are listed and never resolved.
        let resolved: BTreeSet<&str> = nodes.iter().filter_map(|n| text(n, "id").ok()).collect();
        graph.packages.retain(|id, _| resolved.contains(id.as_str()));
        Ok(graph)
    }

    /// The packages of this workspace.
    pub fn members(&self) -> impl Iterator<Item = &Package> {
        self.members.iter().filter_map(|id| self.packages.get(id))
    }

    /// Every package.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// What `package` depends on directly, and what for.
    pub fn dependencies<'a>(&'a self, package: &'a Package) -> impl Iterator<Item = (&'a Package, Kind)> {
        package.edges.iter().filter_map(|(id, kind)| Some((self.packages.get(id)?, *kind)))
    }

    /// Whether `package` belongs to this workspace.
    #[must_use]
    pub fn is_member(&self, package: &Package) -> bool {
        package.source.is_empty()
    }

    /// Everything that is linked into `name`, each with the way it came: names from `name` to it. What depends on a
    /// package that `stop` names is not followed.
    #[must_use]
    pub fn closure(&self, name: &str, stop: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<String>> {
        let mut ways = BTreeMap::new();
        let start = self.members().find(|p| p.name == name);
        let mut todo: Vec<(&Package, Vec<String>)> =
            start.map(|p| (p, vec![p.name.clone()])).into_iter().collect();
        while let Some((package, way)) = todo.pop() {
            for (next, kind) in self.dependencies(package) {
                if kind != Kind::Normal || ways.contains_key(&next.name) || stop(&next.name) {
                    continue;
                }
                let way: Vec<String> = way.iter().cloned().chain([next.name.clone()]).collect();
                ways.insert(next.name.clone(), way.clone());
                todo.push((next, way));
            }
        }
        ways
    }

    /// The same graph in which `from` depends on `to` too. A package that is not there is made up.
    #[must_use]
    pub fn plant(mut self, from: &str, to: &str, kind: Kind) -> Self {
        let (from, to) = (self.id(from), self.id(to));
        if let Some(package) = self.packages.get_mut(&from) {
            package.edges.insert((to, kind));
        }
        self
    }

    /// The same graph with one more version of `name`, from `source`.
    #[must_use]
    pub fn plant_package(mut self, name: &str, version: &str, source: &str) -> Self {
        let package = Package {
            name: name.to_owned(),
            version: version.to_owned(),
            source: source.to_owned(),
            edges: BTreeSet::new(),
        };
        self.packages.insert(format!("planted+{name}@{version}"), package);
        self
    }

    fn id(&mut self, name: &str) -> String {
        if let Some((id, _)) = self.packages.iter().find(|(_, p)| p.name == name) {
            return id.clone();
        }
        let id = format!("planted+{name}");
        let (version, source) = ("0.0.0".to_owned(), "registry+planted".to_owned());
        let package = Package { name: name.to_owned(), version, source, edges: BTreeSet::new() };
        self.packages.insert(id.clone(), package);
        id
    }
}

fn edges(node: &Value) -> Result<BTreeSet<(String, Kind)>, String> {
    let mut edges = BTreeSet::new();
    for dependency in list(node, "deps")? {
        let to = text(dependency, "pkg")?;
        for kind in list(dependency, "dep_kinds")? {
            let kind = match kind.get("kind").and_then(Value::as_str) {
                None => Kind::Normal,
                Some("build") => Kind::Build,
                Some("dev") => Kind::Dev,
                Some(other) => return Err(format!("dependency kind {other} is not known")),
            };
            edges.insert((to.to_owned(), kind));
        }
    }
    Ok(edges)
}

fn list<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>, String> {
    value.get(field).and_then(Value::as_array).ok_or_else(|| format!("{field} is no list"))
}

fn text<'a>(value: &'a Value, field: &str) -> Result<&'a str, String> {
    value.get(field).and_then(Value::as_str).ok_or_else(|| format!("{field} is no string"))
}
