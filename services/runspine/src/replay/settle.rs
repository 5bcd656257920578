//! Waits until every run has ended, then proves it.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    time::Duration,
};

use contracts_common::common::v1::{AuditStatus, RunPhase};
use contracts_incidents::v1::{ListRunIncidentsRequest, incident_service_client::IncidentServiceClient};
use contracts_spine::v1::{
    ExportRunBundleRequest, GetRunProofRequest, GetRunRequest, Run,
    run_bundle_service_client::RunBundleServiceClient, run_service_client::RunServiceClient,
};
use runspine_types::new_id;
use tokio::time::{Instant, sleep};

use super::{client::Mesh, outcome::RunReport};
use crate::failure::Failure;

/// A run whose agent crashed ends within its lease, the reconciler's pass and its saga.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(200);

/// Waits for the ends and proves them.
pub async fn settle(mesh: &Mesh, reports: &mut [RunReport]) -> Result<(), Failure> {
    let mut runs = RunServiceClient::with_interceptor(mesh.channel(), mesh.credential());
    let mut incidents = IncidentServiceClient::with_interceptor(mesh.channel(), mesh.credential());
    let until = Instant::now() + PATIENCE;
    for report in reports.iter_mut().filter(|r| !r.run_id.is_empty()) {
        let run_id = report.run_id.clone();
        loop {
            let request = GetRunRequest { run_id: run_id.clone(), attempt: 0, view: 0 };
            let run = runs.get_run(request).await?.into_inner().run.unwrap_or_default();
            let over = is_over(&run);
            report.ended = Some(run);
            if over || Instant::now() >= until {
                break;
            }
            sleep(LOOK).await;
        }
        let proof =
            runs.get_run_proof(GetRunProofRequest { run_id: run_id.clone(), attempt: 0 }).await?.into_inner();
        report.proof = Some(proof.overall());
        let request = ListRunIncidentsRequest { run_id };
        let found = incidents.list_run_incidents(request).await?.into_inner().incidents;
        report.incidents = found.into_iter().map(|i| i.incident_id).collect();
    }
    Ok(())
}

fn is_over(run: &Run) -> bool {
    let ended = matches!(run.phase(), RunPhase::Completed | RunPhase::Failed);
    ended && !matches!(run.audit_status(), AuditStatus::Pending | AuditStatus::Unspecified)
}

/// Writes the bundle of every run into `folder`.
pub async fn export(mesh: &Mesh, reports: &[RunReport], folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|e| Failure::system(&folder.display().to_string(), &e))?;
    let keys = folder.join("trusted-keys.txt");
    let text = crate::verify::trusted_keys(mesh).await?;
    fs::write(&keys, text).map_err(|e| Failure::system(&keys.display().to_string(), &e))?;
    let mut bundles = RunBundleServiceClient::with_interceptor(mesh.channel(), mesh.credential());
    for report in reports.iter().filter(|r| !r.run_id.is_empty()) {
        let path = folder.join(format!("{}.runspine.jsonl", report.recording));
        let failed = |e| Failure::system(&path.display().to_string(), &e);
        let request = ExportRunBundleRequest {
            request_id: new_id(),
            run_id: report.run_id.clone(),
            reason: "runspine replay".to_owned(),
            allow_open: false,
        };
        let mut pieces = bundles.export_run_bundle(request).await?.into_inner();
        let mut file = File::create(&path).map_err(failed)?;
        while let Some(piece) = pieces.message().await? {
            file.write_all(&piece.chunk).map_err(failed)?;
        }
    }
    Ok(())
}
