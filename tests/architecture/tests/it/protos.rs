//! The import rule and the event catalogue.

use architecture_tests::{events, protos};

use crate::{
    operations::{DESCRIPTORS, compiled},
    tree::{clean, finds, tree, with},
};

#[test]
fn proto_files_import_what_is_theirs() {
    clean("proto files and imports", &protos::imports(tree()), 120);
    let path = "proto/runspine/logs/v1/planted.proto";
    let text = |rest: &str| format!("syntax = \"proto3\";\npackage runspine.logs.v1;\n{rest}\n");
    let other = text("import \"runspine/policies/v1/rule.proto\";");
    finds(&protos::imports(&with(&[(path, &other)])), &[path, "policies"]);
    let public = text("import public \"runspine/spine/v1/run.proto\";");
    finds(&protos::imports(&with(&[(path, &public)])), &[path, "spine"]);
    let away = "proto/runspine/policies/v1/planted.proto";
    finds(&protos::imports(&with(&[(away, &text(""))])), &[away, "runspine.logs.v1"]);
    let common = "proto/runspine/common/v1/planted.proto";
    let up = "package runspine.common.v1;\nimport \"runspine/contract/v1/contract.proto\";";
    finds(&protos::imports(&with(&[(common, up)])), &[common, "contract.proto"]);
}

#[test]
fn events_are_named_after_their_domain() {
    clean("messages of the catalogue", &events::names(&DESCRIPTORS).unwrap(), 50);
    let event = |name: &str| {
        format!(
            "message Sealed {{ option (runspine.contract.v1.event) = {{name: \"{name}\" version: \"1.0.0\"}}; }}"
        )
    };
    let seen = events::names(&[&compiled("events.proto", &event("policies.Sealed"))]).unwrap();
    finds(&seen, &["runspine.planted.v1.Sealed", "planted.Sealed"]);
    let seen = events::names(&[&compiled("events.proto", "message Forgotten {}")]).unwrap();
    finds(&seen, &["Forgotten", "no event"]);
    let good = events::names(&[&compiled("events.proto", &event("planted.Sealed"))]).unwrap();
    assert_eq!((good.inspected, good.violations.len()), (1, 0));
}

#[test]
fn events_are_published() {
    clean("events and their makers", &events::published(&DESCRIPTORS, tree()).unwrap(), 50);
    let event = "message Unheard { option (runspine.contract.v1.event) = {name: \"planted.Unheard\" version: \"1.0.0\"}; }";
    let seen = events::published(&[&compiled("events.proto", event)], tree()).unwrap();
    finds(&seen, &["Unheard", "nobody"]);
}
