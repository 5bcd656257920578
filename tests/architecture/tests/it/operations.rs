//! The RPC inventory.

use architecture_tests::{Source, operations as check};
use runspine_rpc::{Operation, Registry};

use crate::tree::{clean, finds, top, tree};

/// The merged descriptor set of the mesh.
pub const DESCRIPTORS: [&[u8]; 6] = [
    contracts_activity::DESCRIPTORS,
    contracts_incidents::DESCRIPTORS,
    contracts_policies::DESCRIPTORS,
    contracts_logs::DESCRIPTORS,
    contracts_controls::DESCRIPTORS,
    contracts_spine::DESCRIPTORS,
];

/// The descriptor set of a made-up `runspine.planted.v1`.
pub fn compiled(file: &str, body: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("runspine/planted/v1");
    std::fs::create_dir_all(&own).unwrap();
    let head = "syntax = \"proto3\";\npackage runspine.planted.v1;\nimport \"runspine/contract/v1/contract.proto\";\n";
    std::fs::write(own.join(file), format!("{head}{body}\n")).unwrap();
    let mut compiler = protox::Compiler::new([folder.path(), &top().join("proto")]).unwrap();
    compiler.include_imports(true).open_file(format!("runspine/planted/v1/{file}")).unwrap();
    compiler.encode_file_descriptor_set()
}

fn all() -> Vec<Operation> {
    Registry::read(&DESCRIPTORS).unwrap().operations().map(|op| (**op).clone()).collect()
}

const CONTRACT: &str = "option (runspine.contract.v1.operation) = {role: ROLE_OBSERVES exposure: EXPOSURE_MESH \
    permission: \"x.read\" commit: COMMIT_NONE idempotency: IDEMPOTENCY_NO_SIDE_EFFECTS deadline_ms: 100};";

fn planted(contract: &str) -> Vec<u8> {
    let body = format!(
        "message GetXRequest {{}}\nmessage GetXResponse {{}}\n\
         service XService {{ rpc GetX(GetXRequest) returns (GetXResponse) {{ {contract} }} }}"
    );
    compiled("x.proto", &body)
}

#[test]
fn every_operation_has_a_contract() {
    clean("operations and their contracts", &check::contracts(&DESCRIPTORS), 100);
    assert!(check::contracts(&[&planted(CONTRACT)]).violations.is_empty());
    finds(&check::contracts(&[&planted("")]), &["CONTRACT_MISSING", "runspine.planted.v1.XService/GetX"]);
    let weak = CONTRACT.replace("x.read", "");
    finds(&check::contracts(&[&planted(&weak)]), &["PERMISSION_INVALID"]);
    let calling = CONTRACT.replace("deadline_ms", "calls: \"runspine.planted.v1.XService/GetX\" deadline_ms");
    finds(&check::contracts(&[&planted(&calling)]), &["DOMAIN_CALLS"]);
}

#[test]
fn every_operation_is_served() {
    clean("operations and their servers", &check::served(all().iter(), tree()), 100);
    let unmounted: Vec<Source> = tree()
        .iter()
        .cloned()
        .map(|mut s| {
            s.text = s.text.replace("LedgerServiceServer", "NobodysServer");
            s
        })
        .collect();
    finds(&check::served(all().iter(), &unmounted), &["LedgerService/", "is not mounted"]);
    let registry = Registry::read(&[&planted(CONTRACT)]).unwrap();
    let seen = check::served(registry.operations().map(|op| &**op), tree());
    finds(&seen, &["XService/GetX", "has no server"]);
}

#[test]
fn every_operation_is_tested() {
    clean("operations and their contract tests", &check::tested(all().iter(), tree()), 100);
    let forgotten: Vec<Source> = tree()
        .iter()
        .cloned()
        .map(|mut s| {
            if s.is_test() {
                s.text = s.text.replace("VoidIncident\"", "Other\"");
            }
            s
        })
        .collect();
    finds(&check::tested(all().iter(), &forgotten), &["IncidentReportService/VoidIncident"]);
}
