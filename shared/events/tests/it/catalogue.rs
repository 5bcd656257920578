//! The catalogue is read from descriptors, and wrong events are refused.

use contracts_common::contract::v1::Ledger;
use runspine_events::{Catalogue, CatalogueError};

fn read(messages: &str) -> Result<Catalogue, CatalogueError> {
    let folder = tempfile::tempdir().unwrap();
    let source = format!(
        "syntax = \"proto3\"; package runspine.demo.v1; import \"runspine/contract/v1/contract.proto\"; {messages}"
    );
    std::fs::write(folder.path().join("demo.proto"), source).unwrap();
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
    let mut compiler = protox::Compiler::new([folder.path(), protos.as_ref()]).unwrap();
    compiler.include_imports(true).open_files(["demo.proto"]).unwrap();
    Catalogue::from_descriptors(&compiler.encode_file_descriptor_set())
}

fn event(message: &str, name: &str, version: &str, ledger: &str) -> String {
    format!(
        "message {message} {{ option (runspine.contract.v1.event) = \
         {{ name: \"{name}\" version: \"{version}\" ledger: {ledger} }}; }}"
    )
}

#[test]
fn events_are_read_and_other_messages_are_not() {
    let source = event("Happened", "demo.Happened", "1.2.0", "LEDGER_RUN") + "message Plain {}";
    let catalogue = read(&source).unwrap();
    assert_eq!(catalogue.len(), 1);
    let found = catalogue.get("demo.Happened").unwrap();
    assert_eq!((found.version.as_str(), found.ledger), ("1.2.0", Ledger::Run));
    assert_eq!(found.data_type, "runspine.demo.v1.Happened");
}

#[test]
fn wrong_events_are_refused() {
    let wrong = [
        event("A", "other.A", "1.0.0", "LEDGER_NONE"),
        event("A", "demo.", "1.0.0", "LEDGER_NONE"),
        event("A", "demo.A", "1.0", "LEDGER_NONE"),
        event("A", "demo.A", "1.0.x", "LEDGER_NONE"),
        event("A", "demo.A", "1.0.0", "LEDGER_UNSPECIFIED"),
        event("A", "demo.A", "1.0.0", "LEDGER_NONE") + &event("B", "demo.A", "1.0.0", "LEDGER_NONE"),
    ];
    for source in wrong {
        assert!(matches!(read(&source), Err(CatalogueError::Event { .. })), "{source}");
    }
}
