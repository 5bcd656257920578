//! Exports of records: which ones, as lines and as a document, and that they stay those that there were.

use contracts_common::common::v1::{StepKind, StepOutcome};
use contracts_logs::v1::{
    self as pb, ExportFormat as Format, ExportScope as Scope, ExportState as State, record_item::Body,
};
use runspine_db::args;
use runspine_rpc::{details, timestamp};
use runspine_testkit::{TestStore, on_both_engines, run, test_id};
use serde_json::Value;

use super::exports::{client, create, download, made, wanted};
use crate::traces::harness::{House, decision, sealing, tried};

/// A sealed run that called `model`.
async fn called(house: &House, number: u64, model: &str) {
    house.begin(number).await;
    let mut item = tried("a", 0, "d0", 0, StepOutcome::Success);
    if let Some(Body::Step(step)) = &mut item.body {
        step.kind = StepKind::LlmCall.into();
        step.provider = "example".into();
        step.model = model.into();
        step.cost_microusd = 700;
    }
    house.append(number, vec![decision("d0", 0), item]).await.unwrap();
    house.settle(number, 1).await;
    house.seal(sealing(number, 1)).await.unwrap();
    house.advance(1_000);
}

/// Something that the mesh did, told by `tenant`.
async fn did(house: &House, tenant: u64, id: u64, instance: &str, summary: &str) {
    let record = pb::SystemRecord {
        component: pb::SystemComponent::Db.into(),
        event_type: pb::SystemEventType::Error.into(),
        severity: pb::SystemSeverity::Critical.into(),
        instance: instance.into(),
        summary: summary.into(),
        occurred_at: Some(timestamp(crate::traces::harness::START)),
        ..Default::default()
    };
    let message = pb::AppendSystemRecordRequest { record: Some(record), request_id: test_id(46, id) };
    let request = house.ask_as(tenant, "RecordService/AppendSystemRecord", message);
    house.kept.clone().append_system_record(request).await.unwrap();
}

async fn content(house: &House, id: u64, request: pb::CreateExportRequest) -> (pb::Export, Vec<u8>) {
    let export = made(house, &create(house, request).await.unwrap().export_id).await;
    assert_eq!(export.state(), State::Completed, "{export:?}");
    let content = download(house, id, &export.export_id).await.unwrap();
    (export, content)
}

fn llm_runs(id: u64, format: Format, filter: pb::LlmRunFilter) -> pb::CreateExportRequest {
    pb::CreateExportRequest { llm_runs: Some(filter), ..wanted(id, Scope::LlmRun, format) }
}

/// What `column` says in every line.
fn column(csv: &[u8], column: usize) -> Vec<String> {
    let text = std::str::from_utf8(csv).unwrap();
    text.lines().skip(1).map(|line| line.split(',').nth(column).unwrap().to_owned()).collect()
}

on_both_engines! {
    async fn what_runs_used_of_models_is_exported_by_its_filter(store: TestStore) {
        let house = House::over(store).await;
        called(&house, 1, "=HYPERLINK(1)").await;
        called(&house, 2, "small").await;
        called(&house, 3, "small").await;
        let small = pb::LlmRunFilter { model: "small".into(), ..Default::default() };
        let (export, csv) = content(&house, 1, llm_runs(1, Format::Csv, small.clone())).await;
        assert_eq!(export.llm_runs, Some(small.clone()), "it says which records it holds");
        assert_eq!(column(&csv, 1), [run(3), run(2)], "the newest first");
        let (_, all) = content(&house, 2, wanted(2, Scope::LlmRun, Format::Csv)).await;
        assert_eq!(column(&all, 6), ["small", "small", "'=HYPERLINK(1)"], "no spreadsheet runs it");
        let (_, json) = content(&house, 3, llm_runs(3, Format::Unspecified, small)).await;
        let json: Value = serde_json::from_slice(&json).unwrap();
        let found = json["llm_runs"].as_array().unwrap();
        assert_eq!((found.len(), &found[0]["execution_status"]), (2, &"SUCCEEDED".into()));
        assert_eq!((&found[0]["models"][0]["cost_microusd"], &found[0]["cost_microusd"]), (&700.into(), &"700".into()));
        let none = pb::LlmRunFilter { run_ids: vec![run(9)], ..Default::default() };
        let (_, none) = content(&house, 4, llm_runs(4, Format::Csv, none)).await;
        assert!(none.starts_with(b"id,run_id,attempt,") && column(&none, 0).is_empty());
    }

    async fn an_export_of_records_stays_what_there_was(store: TestStore) {
        let house = House::over(store).await;
        called(&house, 1, "small").await;
        let (export, first) = content(&house, 1, wanted(1, Scope::LlmRun, Format::Csv)).await;
        called(&house, 2, "small").await;
        // Whoever made it died before it was kept: another makes it again, later.
        let (db, id) = (house.db().await, export.export_id.clone());
        db.write("died", move |tx| {
            Box::pin(async move {
                tx.execute("DELETE FROM export_contents WHERE export_id = $1", args![&id]).await?;
                let sql = "UPDATE export_work SET state = 1, tries = 0, claimed_until = 0 WHERE export_id = $1";
                tx.execute(sql, args![&id]).await?;
                Ok(())
            })
        })
        .await
        .unwrap();
        let (_, later) = content(&house, 2, wanted(2, Scope::LlmRun, Format::Csv)).await;
        assert_eq!(column(&later, 1), [run(2), run(1)]);
        let again = runspine_testkit::until_ok(std::time::Duration::from_secs(60), || async {
            let bytes = download(&house, 3, &export.export_id).await.unwrap();
            if bytes.is_empty() { Err("it is in the making") } else { Ok(bytes) }
        })
        .await;
        assert_eq!(again, first, "what came later is not in it");
    }

    async fn what_the_mesh_did_is_exported_to_its_own_tenant(store: TestStore) {
        let house = House::over(store).await;
        did(&house, 1, 1, "db-1", "-1 connections, \"none\" left").await;
        did(&house, 1, 2, "db-2", "back").await;
        did(&house, 2, 3, "db-3", "of another tenant").await;
        let critical = pb::SystemRecordFilter { severity: pb::SystemSeverity::Critical.into(), ..Default::default() };
        let order = pb::CreateExportRequest { system_records: Some(critical.clone()), ..wanted(1, Scope::System, Format::Csv) };
        let (export, csv) = content(&house, 1, order).await;
        assert_eq!(export.system_records, Some(critical));
        assert_eq!(column(&csv, 5), ["db-2", "db-1"]);
        let text = String::from_utf8(csv).unwrap();
        assert!(text.contains("\"'-1 connections, \"\"none\"\" left\""), "{text}");
        let (_, json) = content(&house, 2, wanted(2, Scope::System, Format::Json)).await;
        let json: Value = serde_json::from_slice(&json).unwrap();
        let found = &json["records"][1];
        assert_eq!((&found["component"], &found["summary"]), (&"DB".into(), &"-1 connections, \"none\" left".into()));
        let other = pb::SystemRecordFilter { component: pb::SystemComponent::Spine.into(), ..Default::default() };
        let order = pb::CreateExportRequest { system_records: Some(other), ..wanted(3, Scope::System, Format::Csv) };
        assert!(column(&content(&house, 3, order).await.1, 0).is_empty());
    }

    async fn what_is_wrong_with_an_order_of_records_is_said_at_once(store: TestStore) {
        let house = House::over(store).await;
        let fields = async |request: pb::CreateExportRequest| {
            let refused = client(&house).create_export(house.ask("ExportService/CreateExport", request)).await.unwrap_err();
            details(&refused).fields.into_iter().map(|(field, _)| field).collect::<Vec<_>>()
        };
        let bad = pb::LlmRunFilter { run_ids: vec!["x".into()], status: 77, ..Default::default() };
        let wrong = pb::CreateExportRequest { run_id: run(1), attempt: 1, ..llm_runs(1, Format::Pdf, bad) };
        assert_eq!(fields(wrong).await, ["format", "run_id", "attempt", "llm_runs.run_ids", "llm_runs.status"]);
        let wrong = pb::CreateExportRequest {
            llm_runs: Some(pb::LlmRunFilter::default()),
            system_records: Some(pb::SystemRecordFilter { component: 99, ..Default::default() }),
            from: Some(timestamp(crate::traces::harness::START)),
            ..wanted(2, Scope::System, Format::Json)
        };
        assert_eq!(fields(wrong).await, ["from", "llm_runs", "system_records.component"]);
    }
}
