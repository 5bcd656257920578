//! The command line as a shell sees it.
#![allow(clippy::expect_used)]

use std::process::{Command, Output};

fn runspine(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runspine")).args(arguments).output().expect("runspine runs")
}

#[test]
fn the_configuration_is_printed_and_nothing_is_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let told = runspine(&["--print-config", "--data", &data.display().to_string()]);
    assert!(told.status.success(), "{told:?}");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(text.contains("127.0.0.1:7400") && text.contains("STANDARD"), "{text}");
    assert!(!data.exists(), "nothing is made for it");
}

#[test]
fn a_configuration_file_leaves_the_defaults_of_what_it_does_not_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("runspine.toml");
    std::fs::write(&file, "[server]\nin_flight = 7\n").expect("a file");
    let without = runspine(&["--print-config"]);
    let with = runspine(&["--print-config", "--config", &file.display().to_string()]);
    let lines = |told: &Output| -> Vec<String> {
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        text.lines().filter(|l| !l.starts_with("server.in_flight")).map(str::to_owned).collect()
    };
    assert_eq!(lines(&with), lines(&without), "{with:?}");
    let told = String::from_utf8_lossy(&with.stdout).into_owned();
    assert!(told.contains("server.in_flight = 7  # file"), "{told}");
    assert!(told.contains("server.listen = \"127.0.0.1:7400\"  # default"), "{told}");
}

#[test]
fn a_file_that_is_no_bundle_fails_and_one_that_is_missing_is_a_usage_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("no.runspine.jsonl");
    std::fs::write(&file, "{\"not\": \"a bundle\"}\n").expect("a file");
    let told = runspine(&["verify", &file.display().to_string()]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stdout).starts_with("FAILED"), "{told:?}");
    let told = runspine(&["verify", "/nowhere/at-all.runspine.jsonl"]);
    assert_eq!(told.status.code(), Some(2), "{told:?}");
}

#[test]
fn a_replay_file_that_is_no_json_is_told_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("runs.jsonl");
    std::fs::write(&file, "{\"id\": \n").expect("a file");
    let data = folder.path().join("data").display().to_string();
    let told = runspine(&["replay", &file.display().to_string(), "--data", &data]);
    assert_eq!(told.status.code(), Some(2), "{told:?}");
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(text.contains("runs.jsonl:1"), "{text}");
}
