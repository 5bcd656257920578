//! Where the binaries under test are.
//!
//! `RUNSPINE_BIN_DIR` names their folder. Without it they are looked for beside the test's own binary (`target/<profile>`),
//! where `cargo nextest run --workspace` puts those of every package that has integration tests. One that is missing, or
//! older than a source it was built from, is built with cargo first: a test never runs against yesterday's mesh.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

use crate::mesh::DOMAINS;

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// The binary with this name.
///
/// # Panics
/// When it can't be built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    FOLDER.get_or_init(folder).join(name)
}

fn folder() -> PathBuf {
    if let Some(given) = std::env::var_os("RUNSPINE_BIN_DIR") {
        return given.into();
    }
    let test = std::env::current_exe().expect("a process knows its binary");
    let folder = test.parent().and_then(Path::parent).expect("tests run from target/<profile>/deps");
    let names: Vec<String> = DOMAINS.iter().map(|d| format!("runspine-{d}")).collect();
    let all = names.iter().map(String::as_str).chain(["runspine-spine", "runspine"]);
    let stale: Vec<&str> = all.filter(|name| !is_fresh(&folder.join(name))).collect();
    if !stale.is_empty() {
        build(folder, &stale);
    }
    folder.to_path_buf()
}

fn build(folder: &Path, names: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--bins"]).current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    if folder.ends_with("release") {
        command.arg("--release");
    }
    for name in names {
        command.args(["-p", name]);
    }
    assert!(command.status().expect("cargo runs").success(), "the binaries {names:?} can't be built");
}

/// Whether nothing that cargo lists as a source of it is younger.
fn is_fresh(binary: &Path) -> bool {
    let Some(built) = modified(binary) else { return false };
    let Ok(listed) = fs::read_to_string(binary.with_extension("d")) else { return false };
    let sources = listed.split_once(": ").map_or("", |(_, sources)| sources);
    sources
        .split_whitespace()
        .map(Path::new)
        .filter(|s| !s.is_dir())
        .all(|s| modified(s).is_some_and(|m| m <= built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}
