//! Laws 2 and 4, and the versions of the core crates.

use architecture_tests::{Source, dependencies as check, duplicates, graph::Kind, manifests};

use crate::tree::{clean, file, finds, graph, tree, with};

#[test]
fn crates_depend_on_what_their_place_allows() {
    clean("edges between our crates", &check::edges(&graph()), 120);
    let planted = [
        ("runspine-logs", "runspine-policies", Kind::Normal),
        ("runspine-logs", "contracts-policies", Kind::Normal),
        ("runspine-controls", "runspine-activity-domain", Kind::Dev),
        ("runspine-incidents-domain", "runspine-db", Kind::Normal),
        ("runspine-spine", "runspine-db", Kind::Normal),
        ("runspine-spine", "runspine-logs-domain", Kind::Normal),
        ("runspine-rpc", "contracts-logs", Kind::Normal),
        ("contracts-logs", "contracts-policies", Kind::Normal),
        ("runspine-types", "runspine-rpc", Kind::Normal),
        ("runspine-boot", "runspine-testkit", Kind::Normal),
        ("runspine-activity", "runspine-spine", Kind::Normal),
    ];
    for (from, to, kind) in planted {
        finds(&check::edges(&graph().plant(from, to, kind)), &[from, to]);
    }
}

#[test]
fn only_the_spine_knows_several_domains() {
    clean("crates and the domains they know", &check::contracts_of_several_domains(&graph()), 27);
    let planted = graph().plant("runspine-boot", "contracts-logs", Kind::Normal).plant(
        "runspine-boot",
        "contracts-policies",
        Kind::Normal,
    );
    finds(&check::contracts_of_several_domains(&planted), &["runspine-boot", "contracts-policies"]);
}

#[test]
fn pure_crates_are_linked_with_nothing_that_acts() {
    clean("crates linked into the pure ones", &check::pure_crates(&graph()), 100);
    for (crate_, what) in [
        ("runspine-logs-domain", "tokio"),
        ("runspine-policies-domain", "sqlx"),
        ("runspine-controls-domain", "getrandom"),
        ("runspine-types", "tonic"),
    ] {
        finds(&check::pure_crates(&graph().plant(crate_, what, Kind::Normal)), &["not pure", what]);
    }
}

#[test]
fn pure_code_reads_no_world() {
    clean("files of the pure crates", &check::pure_sources(tree()), 60);
    for line in [
        "let at = SystemTime::now();",
        "let t = jiff::Timestamp::now();",
        "async fn ask() {}",
        "let id = new_id();",
    ] {
        let path = "services/logs/domain/src/planted.rs";
        finds(&check::pure_sources(&with(&[(path, line)])), &[path]);
    }
    let tested = "#[cfg(test)]\nmod tests {\n    fn at() { SystemTime::now(); }\n}\nfn late() { SystemTime::now(); }\n";
    let seen = check::pure_sources(&[Source::planted("services/logs/domain/src/planted.rs", tested)]);
    assert!(seen.violations.iter().all(|v| v.contains("planted.rs:5")), "the test may: {seen:?}");
    finds(&seen, &["planted.rs:5", "SystemTime"]);
}

#[test]
fn the_spine_has_no_database() {
    clean(
        "crates linked into the spine, and its files",
        &check::spine_without_a_database(&graph(), tree()),
        200,
    );
    let planted = graph().plant("runspine-boot", "runspine-db", Kind::Normal);
    finds(
        &check::spine_without_a_database(&planted, tree()),
        &["runspine-spine → runspine-boot → runspine-db"],
    );
    finds(&check::spine_without_a_database(&planted, tree()), &["sqlx"]);
    let path = "services/spine/migrations/sqlite/0001_journal.sql";
    finds(&check::spine_without_a_database(&graph(), &with(&[(path, "")])), &[path]);
}

#[test]
fn bans_hold() {
    let bans = duplicates::bans(&file("deny.toml").text).unwrap();
    clean("bans", &duplicates::hold(&graph(), &bans), 25);
    finds(
        &duplicates::hold(&graph().plant_package("tonic", "0.13.1", "registry+x"), &bans),
        &["tonic", "2 versions"],
    );
    finds(
        &duplicates::hold(&graph().plant("runspine-db", "openssl", Kind::Normal), &bans),
        &["runspine-db brings openssl"],
    );
    finds(
        &duplicates::hold(&graph().plant("runspine-logs", "chrono", Kind::Normal), &bans),
        &["runspine-logs brings chrono"],
    );
    assert!(duplicates::bans("[bans]\ndeny = [{ crate = \"x\" }]").is_err(), "a ban without a reason");
}

#[test]
fn everything_comes_from_the_registry() {
    clean("packages and their sources", &duplicates::sources(&graph()), 250);
    let planted = graph().plant_package("fork", "1.0.0", "git+https://example.org/fork");
    finds(&duplicates::sources(&planted), &["fork", "git+"]);
}

#[test]
fn manifests_inherit() {
    let all: Vec<Source> = tree().iter().filter(|s| s.path.ends_with("Cargo.toml")).cloned().collect();
    clean("manifests and their entries", &manifests::members(&all), 250);
    let own =
        Source::planted("services/x/Cargo.toml", "[package]\nname = \"x\"\n[dependencies]\nserde = \"1\"\n");
    let seen = manifests::members(&[own]);
    finds(&seen, &["serde has a version of its own"]);
    finds(&seen, &["does not inherit"]);
    finds(&manifests::members(&[Source::planted("Cargo.toml", "[workspace]\n")]), &["unsafe_code"]);
}
