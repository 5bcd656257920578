//! Who depends on whom: domains never meet, pure crates do nothing but decide, the spine has no database.

use crate::{
    DOMAINS, Inspection, Source,
    graph::{Graph, Kind},
    roles::Role,
};

/// What a pure crate may not be linked with: runtimes, stores, transports.
const IMPURE: [&str; 11] = [
    "tokio",
    "mio",
    "sqlx",
    "sqlx-core",
    "rusqlite",
    "libsqlite3-sys",
    "tonic",
    "hyper",
    "tower",
    "reqwest",
    "async-std",
];

/// What a pure crate may not ask for itself: chance, the time of day, files.
const UNSURE: [&str; 7] = ["rand", "getrandom", "fastrand", "chrono", "time", "tempfile", "walkdir"];

/// Words of code that reads the world.
const WORLDLY: [&str; 18] = [
    "SystemTime",
    "Instant::",
    "::now()",
    "SystemClock",
    "new_id()",
    "OsRng",
    "thread_rng",
    "getrandom",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "tokio",
    "sqlx",
    "rusqlite",
    "async fn",
    ".await",
];

/// Every edge between crates of this workspace is one that the house allows. Inspects edges.
#[must_use]
pub fn edges(graph: &Graph) -> Inspection {
    let mut seen = Inspection::default();
    for package in graph.members() {
        let Some(role) = Role::of(&package.name) else {
            seen.object(format!("{} has no place in the house: give it one in roles.rs", package.name));
            continue;
        };
        for (to, kind) in graph.dependencies(package).filter(|(to, _)| graph.is_member(to)) {
            let allowed = Role::of(&to.name).is_some_and(|to| role.may_depend_on(&to, kind));
            seen.require(allowed, || format!("{} must not depend on {} ({kind:?})", package.name, to.name));
        }
    }
    seen
}

/// Only the spine knows the contracts of several domains; those who compose or test the whole house may too. Inspects
/// crates.
#[must_use]
pub fn contracts_of_several_domains(graph: &Graph) -> Inspection {
    let mut seen = Inspection::default();
    for package in graph.members() {
        let of_domains = graph.dependencies(package).filter(|(to, _)| {
            matches!(Role::of(&to.name), Some(Role::Contracts(domain)) if DOMAINS.contains(&domain.as_str()))
        });
        let names: Vec<&str> = of_domains.map(|(to, _)| to.name.as_str()).collect();
        let may = matches!(Role::of(&package.name), Some(Role::Spine | Role::AllInOne | Role::HouseTests));
        let text = || format!("{} knows several domains: {}", package.name, names.join(", "));
        seen.require(may || names.len() <= 1, text);
    }
    seen
}

/// The pure crates are linked with nothing that acts. Contract crates carry generated clients, so what they bring is
/// not followed: that no client is used is what [`pure_sources`] sees. Inspects linked crates.
#[must_use]
pub fn pure_crates(graph: &Graph) -> Inspection {
    let mut seen = Inspection::default();
    for package in graph.members() {
        let Some(Role::Pure(_)) = Role::of(&package.name) else { continue };
        let linked = graph.closure(&package.name, |name| name.starts_with("contracts-"));
        for (name, way) in &linked {
            seen.require(!IMPURE.contains(&name.as_str()), || format!("not pure: {}", way.join(" → ")));
        }
        for (to, kind) in graph.dependencies(package) {
            let unsure = kind == Kind::Normal && UNSURE.contains(&to.name.as_str());
            seen.require(!unsure, || format!("not pure: {} → {}", package.name, to.name));
        }
    }
    seen
}

/// The code of the pure crates reads no clock, no chance, no file and waits for nothing. Inspects files.
#[must_use]
pub fn pure_sources(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    let folders = DOMAINS.map(|domain| format!("services/{domain}/domain/src"));
    let pure = tree.iter().filter(|s| s.ends_with(".rs") && folders.iter().any(|f| s.is_in(f)));
    for source in pure.filter(|s| !s.is_test()) {
        seen.saw();
        for (number, line) in source.code() {
            for word in WORLDLY.iter().filter(|word| line.contains(*word)) {
                seen.object(format!("not pure: {}:{number} has {word}", source.path));
            }
        }
    }
    seen
}

/// The spine is linked with no database and brings no table. Inspects linked crates and files.
#[must_use]
pub fn spine_without_a_database(graph: &Graph, tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for (name, way) in graph.closure("runspine-spine", |_| false) {
        let stores =
            ["sqlx", "libsqlite3", "rusqlite", "postgres", "tokio-postgres", "sled", "redb", "rocksdb"];
        let store = name == "runspine-db" || stores.iter().any(|store| name.starts_with(store));
        seen.require(!store, || format!("the spine has a database: {}", way.join(" → ")));
    }
    for source in tree.iter().filter(|s| s.is_in("services/spine")) {
        let table = source.ends_with(".sql")
            || (source.ends_with(".rs")
                && source.code().iter().any(|(_, line)| line.contains("CREATE TABLE")));
        seen.require(!table, || format!("the spine has a table: {}", source.path));
    }
    seen
}
