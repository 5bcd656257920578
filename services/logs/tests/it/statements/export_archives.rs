//! Exports as one archive, and as pages for a person.

use std::{
    collections::BTreeMap,
    io::{Cursor, Read as _},
};

use contracts_common::common::v1::TerminationReason;
use contracts_logs::v1::{self as pb, ExportFormat as Format, ExportScope as Scope, ExportState as State};
use runspine_testkit::{TestStore, on_both_engines, run};
use runspine_types::hash;
use serde_json::Value;

use super::{
    export_parts::{SOURCES, add, document, figure},
    exports::{create, download, ended, made, told, wanted},
};
use crate::traces::harness::House;

/// The files of an archive, after each was held against the manifest.
fn opened(archive: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut files = BTreeMap::new();
    for n in 0..archive.len() {
        let mut file = archive.by_index(n).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        files.insert(file.name().unwrap().into_owned(), bytes);
    }
    let manifest: Value = serde_json::from_slice(&files.remove("manifest.json").unwrap()).unwrap();
    let listed = manifest["files"].as_array().unwrap();
    assert_eq!(listed.len(), files.len());
    for entry in listed {
        let held = &files[entry["name"].as_str().unwrap()];
        assert_eq!((&entry["sha256"], &entry["size"]), (&hash(held).to_hex().into(), &held.len().into()));
    }
    files
}

async fn order(house: &House, id: u64, scope: Scope, format: Format) -> String {
    let request = pb::CreateExportRequest { run_id: run(1), ..wanted(id, scope, format) };
    create(house, request).await.unwrap().export_id
}

async fn content(house: &House, id: u64, export_id: &str) -> Vec<u8> {
    let export = made(house, export_id).await;
    assert_eq!(export.state(), State::Completed, "{export:?}");
    let content = download(house, id, export_id).await.unwrap();
    assert_eq!(export.content_digest, hash(&content).to_vec());
    content
}

fn names(files: &BTreeMap<String, Vec<u8>>) -> Vec<&str> {
    files.keys().map(String::as_str).collect()
}

on_both_engines! {
    async fn an_archive_holds_what_the_other_formats_would(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::BudgetExceeded).await;
        told(&house, 1, "incidents.IncidentOpened", 1, "BUDGET").await;
        let ledger = order(&house, 1, Scope::Audit, Format::Zip).await;
        let files = opened(content(&house, 1, &ledger).await);
        assert_eq!(names(&files), ["content.csv", "content.json"]);
        assert!(files["content.csv"].starts_with(b"seq,event_type,"));
        let json: Value = serde_json::from_slice(&files["content.json"]).unwrap();
        let lines = String::from_utf8(files["content.csv"].clone()).unwrap().lines().count();
        assert_eq!(json["entries"].as_array().unwrap().len() + 1, lines);
        let report = order(&house, 2, Scope::Compliance, Format::Zip).await;
        let files = opened(content(&house, 2, &report).await);
        assert_eq!(names(&files), ["content.json", "content.pdf"]);
        let bundle = order(&house, 3, Scope::Bundle, Format::Zip).await;
        add(&house, &bundle, "policies", vec![]).await.unwrap();
        let files = opened(content(&house, 3, &bundle).await);
        assert_eq!(names(&files), ["content.bundle"]);
        assert!(files["content.bundle"].starts_with(b"{\"s\":\"manifest\""));
        let evidence = order(&house, 4, Scope::Evidence, Format::Zip).await;
        for source in SOURCES {
            let given = vec![document("{\"a\":1}"), figure("violation_step_index", "0")];
            add(&house, &evidence, source, given).await.unwrap();
        }
        let files = opened(content(&house, 4, &evidence).await);
        let parts = SOURCES.map(|source| format!("parts/{source}.json"));
        assert_eq!(names(&files), [&["content.json".to_owned()], parts.as_slice()].concat());
        let part: Value = serde_json::from_slice(&files["parts/incidents.json"]).unwrap();
        assert_eq!((&part["status"], &part["documents"][0]["document"]["a"]), (&"OK".into(), &1.into()));
    }

    async fn pages_say_what_the_document_says(store: TestStore) {
        let house = House::over(store).await;
        ended(&house, 1, TerminationReason::PolicyBlock).await;
        told(&house, 1, "incidents.IncidentOpened", 1, "RULE").await;
        let page = order(&house, 1, Scope::Executive, Format::Pdf).await;
        for source in SOURCES {
            let given = if source == "incidents" { vec![figure("resolution_summary", "\"Zoë 日 fixed it\"")] } else { vec![] };
            add(&house, &page, source, given).await.unwrap();
        }
        let pdf = content(&house, 1, &page).await;
        assert!(pdf.starts_with(b"%PDF-1.7") && pdf.ends_with(b"%%EOF"));
        let text = String::from_utf8_lossy(&pdf).into_owned();
        assert!(text.contains("(Executive summary) Tj") && text.contains("(POLICY_BLOCK) Tj"), "{text}");
        // Texts with letters beside ASCII stand as digits.
        let fixed: String = b"Zo\xeb \\u{65e5} fixed it".iter().map(|byte| format!("{byte:02X}")).collect();
        assert!(text.to_uppercase().contains(&fixed), "{text}");
        let report = order(&house, 2, Scope::Compliance, Format::Pdf).await;
        let pdf = content(&house, 2, &report).await;
        let text = String::from_utf8_lossy(&pdf).into_owned();
        assert!(text.contains("(SOC 2 report) Tj") && text.contains("(DEMONSTRATED) Tj"), "{text}");
    }
}
