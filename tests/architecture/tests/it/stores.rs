//! Append-only truth, as far as it can be read. That the engines refuse changes is what each store's suite shows.

use architecture_tests::{Source, append_only};

use crate::tree::{clean, finds, tree};

fn changed(path: &str, from: &str, to: &str) -> Vec<Source> {
    let mut tree = tree().to_vec();
    let source = tree.iter_mut().find(|s| s.path == path).unwrap();
    assert!(source.text.contains(from), "{path} has no {from}");
    source.text = source.text.replace(from, to);
    tree
}

#[test]
fn every_domain_has_append_only_tables() {
    clean("append-only tables on two engines", &append_only::declared(tree()), 90);
    let store = "services/logs/src/store/mod.rs";
    let undeclared = changed(store, "append_only: [", "append: [");
    finds(&append_only::declared(&undeclared), &["logs declares no append-only table"]);
    let unknown = changed(store, "append_only: [", "append_only: [\"planted\", ");
    finds(&append_only::declared(&unknown), &["logs: planted is not made on postgres"]);
    let untested: Vec<Source> =
        tree().iter().filter(|s| !s.is_in("services/incidents/tests")).cloned().collect();
    finds(&append_only::declared(&untested), &["incidents", "assert_append_only("]);
}
