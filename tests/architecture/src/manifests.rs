//! The manifests: lints are inherited, versions stand in the workspace only.

use toml::{Table, Value};

use crate::{Inspection, Source};

/// Every member inherits the lints and takes each dependency from the workspace; unsafe code is forbidden for all.
/// Inspects manifests and dependencies.
#[must_use]
pub fn members(manifests: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for manifest in manifests {
        seen.saw();
        let table: Table = match manifest.text.parse() {
            Ok(table) => table,
            Err(error) => {
                seen.object(format!("{}: {error}", manifest.path));
                continue;
            }
        };
        seen = seen.and(if table.contains_key("workspace") {
            workspace(manifest, &table)
        } else {
            member(manifest, &table)
        });
    }
    seen
}

fn workspace(manifest: &Source, table: &Table) -> Inspection {
    let mut seen = Inspection::default();
    let lints = table.get("workspace").and_then(|w| w.get("lints"));
    let level = |group: &str, lint: &str| {
        lints.and_then(|l| l.get(group)?.get(lint)).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let path = &manifest.path;
    seen.require(level("rust", "unsafe_code") == "forbid", || format!("{path} does not forbid unsafe_code"));
    for lint in ["unwrap_used", "expect_used", "panic", "todo", "unimplemented", "print_stdout"] {
        seen.require(level("clippy", lint) == "deny", || format!("{path} does not deny clippy::{lint}"));
    }
    seen
}

fn member(manifest: &Source, table: &Table) -> Inspection {
    let mut seen = Inspection::default();
    let inherits = |value: Option<&Value>| value.and_then(|v| v.get("workspace")?.as_bool()).unwrap_or(false);
    let path = &manifest.path;
    seen.require(inherits(table.get("lints")), || format!("{path} does not inherit the workspace's lints"));
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(dependencies) = table.get(section).and_then(Value::as_table) else { continue };
        for (name, dependency) in dependencies {
            seen.require(inherits(Some(dependency)), || format!("{path}: {name} has a version of its own"));
        }
    }
    seen
}
