//! The import rule: a file of `runspine.X.v1` imports only common, contract, X and google.

use crate::{Inspection, Source};

/// Every proto file lies in the folder of its package and imports only what it may. Inspects files and imports.
#[must_use]
pub fn imports(tree: &[Source]) -> Inspection {
    let mut seen = Inspection::default();
    for source in tree.iter().filter(|s| s.ends_with(".proto")) {
        let package = statement(source, "package ").next().unwrap_or_default();
        let folder = format!("proto/{}", package.replace('.', "/"));
        let at_home = !package.is_empty() && source.path.rsplit_once('/').is_some_and(|(f, _)| f == folder);
        seen.require(at_home, || format!("{} has the package {package:?}", source.path));
        for import in statement(source, "import ") {
            let import = import.trim_start_matches("public ").trim_matches('"');
            seen.require(may_import(package, import), || format!("{} must not import {import}", source.path));
        }
    }
    seen
}

fn may_import(package: &str, import: &str) -> bool {
    let own = package.replace('.', "/");
    let allowed: &[&str] = match package {
        "runspine.common.v1" | "runspine.contract.v1" => &["google/protobuf"],
        _ => &["google/protobuf", "google/rpc", "runspine/common/v1", "runspine/contract/v1"],
    };
    let folder = import.rsplit_once('/').map_or("", |(folder, _)| folder);
    folder == own || allowed.contains(&folder)
}

fn statement<'a>(source: &'a Source, word: &'a str) -> impl Iterator<Item = &'a str> {
    source
        .text
        .lines()
        .filter_map(move |line| Some(line.trim().strip_prefix(word)?.trim_end_matches(';').trim()))
}
