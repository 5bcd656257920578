//! The tree and its dependency graph, read once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

use architecture_tests::{Inspection, Source, graph::Graph, mark_test_modules};

/// Folders that are not ours: made by tools.
const MADE: [&str; 4] = ["target", ".git", "node_modules", "__pycache__"];

/// Endings of files that are read.
const READ: [&str; 7] = [".rs", ".proto", ".sql", ".md", ".toml", ".yaml", ".sh"];

static TREE: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let mut found = Vec::new();
    read_folder(&top(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    mark_test_modules(&mut found);
    found
});

static GRAPH: LazyLock<Graph> = LazyLock::new(|| Graph::parse(&metadata()).unwrap());

/// Every text file of the tree.
pub fn tree() -> &'static [Source] {
    &TREE
}

/// The dependency graph for this platform.
pub fn graph() -> Graph {
    GRAPH.clone()
}

/// A file of the tree.
pub fn file(path: &str) -> &'static Source {
    tree().iter().find(|s| s.path == path).unwrap_or_else(|| panic!("no file {path}"))
}

/// The tree with `planted` in it.
pub fn with(planted: &[(&str, &str)]) -> Vec<Source> {
    let mut tree = tree().to_vec();
    for (path, text) in planted {
        tree.retain(|s| s.path != *path);
        tree.push(Source::planted(path, text));
    }
    tree
}

/// Fails when something is wrong, or when fewer than `at_least` things were looked at.
#[track_caller]
pub fn clean(what: &str, inspection: &Inspection, at_least: usize) {
    // Shown by `cargo nextest run --no-capture`, so that a reader sees that a guard guards something.
    println!("{what}: {} inspected", inspection.inspected);
    assert!(inspection.violations.is_empty(), "{what}:\n  {}", inspection.violations.join("\n  "));
    assert!(inspection.inspected >= at_least, "{what}: only {} inspected", inspection.inspected);
}

/// Fails unless a violation has all of `words`: the check would let a real one pass.
#[track_caller]
pub fn finds(inspection: &Inspection, words: &[&str]) {
    assert!(inspection.found(words), "{words:?} is not in {:#?}", inspection.violations);
}

/// The top of the tree.
pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn read_folder(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !MADE.contains(&name.as_str()) {
            read_folder(&path, found);
        } else if READ.iter().any(|ending| name.ends_with(ending)) {
            let relative = path.strip_prefix(top()).unwrap().to_string_lossy().replace('\\', "/");
            // A file may go away between the listing and the reading: an editor's, for one.
            if let Ok(text) = fs::read_to_string(&path) {
                found.push(Source::planted(&relative, &text));
            }
        }
    }
}

fn metadata() -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let version = Command::new("rustc").arg("-vV").output().unwrap().stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let out = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--filter-platform", host])
        .current_dir(top())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}
