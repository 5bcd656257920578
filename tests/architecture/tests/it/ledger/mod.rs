//! The ledger is complete: every operation that writes is asked for something that it does, and owes an entry for it in
//! the commit of the act.

mod activity;
mod controls;
mod desk;
mod incidents;
mod learning;
mod logs;
mod policies;

use std::collections::BTreeMap;

use architecture_tests::recorded::{RECORDS, Record, complete, written};
use desk::Desk;
use runspine_rpc::Registry;

use crate::{
    operations::{DESCRIPTORS, compiled},
    tree::{clean, finds},
};

/// The list is whole: no operation that writes is missing, none is excused without a reason, and every event named goes
/// to the ledger.
#[test]
fn every_operation_that_writes_has_a_record() {
    let registry = Registry::read(&DESCRIPTORS).unwrap();
    clean("operations that write and their records", &complete(&registry, RECORDS), 95);

    let forgotten: Vec<_> = RECORDS.iter().copied().filter(|r| !r.0.ends_with("/Freeze")).collect();
    finds(&complete(&registry, &forgotten), &["FreezeService/Freeze", "0 rows"]);
    let twice: Vec<_> = RECORDS.iter().chain(&RECORDS[..1]).copied().collect();
    finds(&complete(&registry, &twice), &["activity.v1.EventService/AckEvents", "2 rows"]);
    let gone =
        [RECORDS, &[("logs.v1.LedgerService/RewriteEntry", Record::Elsewhere("is a made-up act"))]].concat();
    finds(&complete(&registry, &gone), &["RewriteEntry", "writes nothing"]);
    let turned = |to: Record| -> Vec<(&'static str, Record)> {
        RECORDS.iter().map(|(name, r)| (*name, if name.ends_with("/Freeze") { to } else { *r })).collect()
    };
    finds(
        &complete(&registry, &turned(Record::Elsewhere(""))),
        &["FreezeService/Freeze", "without a reason"],
    );
    let quiet = complete(&registry, &turned(Record::Entry("logs.RecordsAppended")));
    finds(&quiet, &["FreezeService/Freeze", "does not go to the ledger"]);
    let unknown = complete(&registry, &turned(Record::Entry("controls.Frozen")));
    finds(&unknown, &["controls.Frozen", "does not go to the ledger"]);
}

/// A new domain operation is found without anybody naming it.
#[test]
fn a_new_operation_owes_a_record() {
    let contract = "option (runspine.contract.v1.operation) = {role: ROLE_EXECUTES exposure: EXPOSURE_MESH \
        permission: \"x.write\" commit: COMMIT_OWNS idempotency: IDEMPOTENCY_KEYED deadline_ms: 100};";
    let body = format!(
        "message MakeXRequest {{ string request_id = 1; }}\nmessage MakeXResponse {{}}\n\
         service XService {{ rpc MakeX(MakeXRequest) returns (MakeXResponse) {{ {contract} }} }}"
    );
    let set = compiled("x.proto", &body);
    let mut registry = Registry::read(&[&set]).unwrap();
    assert_eq!(complete(&registry, &[]).inspected, 0, "`planted` is no domain of the house");
    let set = compiled_as_logs(&body);
    registry = Registry::read(&[&set]).unwrap();
    finds(&complete(&registry, &[]), &["runspine.logs.v1.XService/MakeX", "0 rows"]);
}

/// The same messages as a file of `logs`.
fn compiled_as_logs(body: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("runspine/logs/v1");
    std::fs::create_dir_all(&own).unwrap();
    let head =
        "syntax = \"proto3\";\npackage runspine.logs.v1;\nimport \"runspine/contract/v1/contract.proto\";\n";
    std::fs::write(own.join("x.proto"), format!("{head}{body}\n")).unwrap();
    let proto = crate::tree::top().join("proto");
    let mut compiler = protox::Compiler::new([folder.path(), &proto]).unwrap();
    compiler.include_imports(true).open_file("runspine/logs/v1/x.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

/// Each operation that owes an entry is asked for an act of its own; the entry is there when the answer is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_act_leaves_its_entry_with_its_commit() {
    let desk = Desk::open().await;
    activity::acts(&desk).await;
    controls::acts(&desk).await;
    incidents::acts(&desk).await;
    logs::acts(&desk).await;
    policies::acts(&desk).await;
    learning::acts(&desk).await;
    let made = desk.made().await;
    clean("operations that leave an entry", &written(RECORDS, &made), 60);

    let mut lost = made.clone();
    lost.remove("controls.v1.FreezeService/Freeze");
    finds(&written(RECORDS, &lost), &["FreezeService/Freeze", "owes controls.FreezeActivated"]);
    finds(&written(RECORDS, &BTreeMap::new()), &["RuleService/ActivateRule", "owes policies.RuleActivated"]);
    desk.close().await;
}
