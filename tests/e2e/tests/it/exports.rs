//! What leaves the house: ordered at the door, gathered from every domain, handed out with a record.

use std::time::Duration;

use contracts_common::common::v1::StepOutcome;
use contracts_incidents::v1::{GetIncidentExportRequest, IncidentExportState, ListRunIncidentsRequest};
use contracts_logs::v1::{
    CreateExportRequest, DownloadExportRequest, Export, ExportScope, ExportState, GetExportRequest,
};
use contracts_spine::v1::{ExportIncidentRequest, IncidentReport, IncidentReportFormat};
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
    let content = downloaded(owner, &export.export_id, &export.content_digest).await;
    (export, content)
}

/// The content of a made export, held against its digest.
async fn downloaded(owner: &Client, export_id: &str, digest: &[u8]) -> Vec<u8> {
    let download = DownloadExportRequest { request_id: new_id(), export_id: export_id.to_owned() };
    let mut pieces = owner.exports().download_export(download).await.unwrap().into_inner();
    let mut content = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        content.extend_from_slice(&piece.chunk);
    }
    assert_eq!(digest, hash(&content).to_vec());
    content
}

/// Ordered at the door, made by everybody, found by the reactor: an archive with the incident of a run in it.
#[tokio::test]
async fn an_incident_leaves_the_house_as_one_archive() {
    let mesh = Mesh::all_in_one().await;
    let owner = mesh.owner();
    let agent = Agent::start(&owner).await;
    agent.take(0, "search").await.unwrap();
    agent.complete(StepOutcome::Failure).await.unwrap();
    support::ended(&agent).await;
    let list = ListRunIncidentsRequest { run_id: agent.run_id.clone() };
    let found = owner.incidents().list_run_incidents(list).await.unwrap().into_inner();
    let order = ExportIncidentRequest {
        request_id: new_id(),
        incident_id: found.incidents[0].incident_id.clone(),
        report: IncidentReport::Soc2.into(),
        format: IncidentReportFormat::Zip.into(),
        reason: "asked for by the auditor".to_owned(),
    };
    let ordered = owner.incident_reports().export_incident(order).await.unwrap().into_inner();
    assert_eq!(ordered.refusal_reason, "");
    let export = until_ok(Duration::from_secs(60), || async {
        let get = GetIncidentExportRequest { export_id: ordered.export_id.clone() };
        let found = owner.incident_exports().get_incident_export(get).await.unwrap().into_inner();
        let export = found.export.unwrap();
        if export.state() == IncidentExportState::Completed { Ok(export) } else { Err(export) }
    })
    .await;
    let archive = downloaded(&owner, &export.content_export_id, &export.content_digest).await;
    assert!(archive.starts_with(b"PK"), "{} bytes", archive.len());
    let names = String::from_utf8_lossy(&archive).into_owned();
    for name in
        ["manifest.json", "content.json", "content.pdf", "parts/incidents.json", "parts/policies.json"]
    {
        assert!(names.contains(name), "{name}");
    }
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
