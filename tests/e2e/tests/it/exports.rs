//! What leaves the house: ordered at the door, gathered from every domain, handed out with a record.

use std::time::Duration;

use contracts_common::common::v1::StepOutcome;
use contracts_logs::v1::{
    CreateExportRequest, DownloadExportRequest, Export, ExportScope, ExportState, GetExportRequest,
};
use runspine_e2e::{Agent, Client, Mesh};
use runspine_testkit::until_ok;
use runspine_types::{hash, new_id};

use crate::support;

async fn exported(owner: &Client, run_id: &str, scope: ExportScope) -> (Export, Vec<u8>) {
    let create = CreateExportRequest {
        request_id: new_id(),
        scope: scope.into(),
        run_id: run_id.to_owned(),
        reason: "asked for by the auditor".to_owned(),
        ..Default::default()
    };
    let ordered = owner.exports().create_export(create).await.unwrap().into_inner().export.unwrap();
    let export = until_ok(Duration::from_secs(60), || async {
        let get = GetExportRequest { export_id: ordered.export_id.clone() };
        let export = owner.exports().get_export(get).await.unwrap().into_inner().export.unwrap();
        if export.state() == ExportState::Completed { Ok(export) } else { Err(export) }
    })
    .await;
    let download = DownloadExportRequest { request_id: new_id(), export_id: export.export_id.clone() };
    let mut pieces = owner.exports().download_export(download).await.unwrap().into_inner();
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        content.extend_from_slice(&piece.chunk);
    }
    assert_eq!(export.content_digest, hash(&content).to_vec());
    (export, content)
}

#[tokio::test]
async fn every_domain_gives_its_part_of_an_export() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let agent = Agent::start(&owner).await;
    agent.take(0, "search").await.unwrap();
    agent.complete(StepOutcome::Failure).await.unwrap();
    support::ended(&agent).await;
    let (export, content) = exported(&owner, &agent.run_id, ExportScope::Evidence).await;
    assert_eq!(export.parts.len(), 4, "{export:?}");
    let text = String::from_utf8(content).unwrap();
    for kind in ["incidents.v1.Incident", "activity.v1.Attempt", "policies.v1.Evaluation", "controls.v1."] {
        assert!(text.contains(&format!("\"runspine.{kind}")), "{kind} in {text}");
    }
    let (_, page) = exported(&owner, &agent.run_id, ExportScope::Executive).await;
    assert!(String::from_utf8(page).unwrap().contains("Incidents: 1; the worst is "));
    let (_, bundle) = exported(&owner, &agent.run_id, ExportScope::Bundle).await;
    assert!(bundle.starts_with(b"{\"s\":\"manifest\""));
}
