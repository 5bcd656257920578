//! Bridges and clients of the spine.

use architecture_tests::{Source, spine as check};

use crate::tree::{clean, finds, tree, with};

#[test]
fn bridges_are_small() {
    clean("bridges", &check::bridges(tree()), 12);
    let capability = |n: usize| format!("    x{n}: XServiceClient.x{n}(XRequest) -> XResponse;\n");
    let block = |count: usize| {
        let all: String = (0..count).map(capability).collect();
        format!("use super::bridge;\n\nbridge! {{\n    /// Planted.\n    PlantedBridge {{\n{all}    }}\n}}\n")
    };
    let seen = |count: usize| {
        check::bridges(&[Source::planted("services/spine/src/bridges/planted.rs", &block(count))])
    };
    finds(&seen(6), &["PlantedBridge has 6 capabilities"]);
    assert!(seen(5).violations.is_empty());
}

#[test]
fn only_bridges_name_clients() {
    clean("files of the spine", &check::clients(tree(), &check::NAME_A_CLIENT), 60);
    let path = "services/spine/src/kernel/planted.rs";
    let text = "use contracts_logs::v1::trace_service_client::TraceServiceClient;";
    finds(&check::clients(&with(&[(path, text)]), &check::NAME_A_CLIENT), &[path, "use a bridge"]);
    let listed = [("services/spine/src/kernel/mod.rs", "no reason")];
    finds(&check::clients(tree(), &listed), &["kernel/mod.rs", "drop it"]);
}
