//! `EvidenceService`.

use std::{collections::HashMap, sync::Arc};

use contracts_logs::v1::{
    self as pb, EvidenceFailureReason, EvidenceKind, evidence_service_server::EvidenceService,
};
use prost::Message as _;
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status, timestamp};
use runspine_types::hash;
use tonic::{Request, Response, Status};

use super::{
    caused, evidence_parse as parse,
    fields::{Fields, page_after, page_key},
};
use crate::{
    app::audit::{Audit, evidence::Captured},
    store::evidence::{self as store, EvidenceRow, FailureRow},
};

/// Serves evidence.
pub struct Evidence(pub Arc<Audit>);

#[tonic::async_trait]
impl EvidenceService for Evidence {
    async fn capture_evidence(
        &self,
        request: Request<pb::CaptureEvidenceRequest>,
    ) -> Result<Response<pb::CaptureEvidenceResponse>, Status> {
        let context = context(&request)?;
        let capture = parse::capture(&context.tenant_id, request.into_inner()).map_err(status)?;
        let captured = self.0.capture(capture, caused(&context)).await.map_err(status)?;
        Ok(Response::new(match captured {
            Captured::Kept { evidence_id, seq, link } => pb::CaptureEvidenceResponse {
                evidence_id,
                seq,
                link: link.to_vec().into(),
                ..Default::default()
            },
            Captured::Failed { failure_id, reason } => pb::CaptureEvidenceResponse {
                failure_id,
                failure_reason: reason.into(),
                ..Default::default()
            },
        }))
    }

    async fn compute_integrity(
        &self,
        request: Request<pb::ComputeIntegrityRequest>,
    ) -> Result<Response<pb::ComputeIntegrityResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let mut fields = Fields::new();
        let run_id = fields.id("run_id", request.run_id);
        fields.done().map_err(status)?;
        let of = (context.tenant_id.as_str(), run_id.as_str(), request.attempt);
        let graded = self.0.compute_integrity(of, caused(&context)).await;
        graded.map(Response::new).map_err(status)
    }

    async fn list_evidence(
        &self,
        request: Request<pb::ListEvidenceRequest>,
    ) -> Result<Response<pb::ListEvidenceResponse>, Status> {
        let context = context(&request)?;
        self.list(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }
}

impl Evidence {
    async fn list(
        &self,
        tenant: &str,
        request: pb::ListEvidenceRequest,
    ) -> Result<pb::ListEvidenceResponse, Fault> {
        let unpaged = pb::ListEvidenceRequest { page_token: String::new(), page_size: 0, ..request.clone() };
        let query = hash(&unpaged.encode_to_vec());
        let mut fields = Fields::new();
        let run_id = fields.id("run_id", request.run_id);
        for (n, kind) in request.kinds.iter().enumerate() {
            let _: EvidenceKind = fields.known(&format!("kinds[{n}]"), *kind);
        }
        let size = fields.page_size(request.page_size);
        fields.done()?;
        let attempt = (request.attempt > 0).then_some(request.attempt);
        let after = page_after(&request.page_token, query)?
            .map(|[attempt, seq]| (u32::try_from(attempt).unwrap_or(u32::MAX), seq.unsigned_abs()));
        let (read, run) = (self.0.db.read(), (tenant, run_id.as_str()));
        let mut rows = store::list(read, run, attempt, &request.kinds, after, size.probe()).await?;
        let next_page_token = size.cut(&mut rows, query, |row| {
            page_key([i64::from(row.attempt), i64::try_from(row.seq).unwrap_or(i64::MAX)])
        });
        let failures = match after {
            None => failures(store::list_failures(read, run, attempt, &request.kinds).await?),
            Some(_) => Vec::new(),
        };
        let evidence: Result<Vec<_>, Fault> = rows.into_iter().map(view).collect();
        Ok(pb::ListEvidenceResponse { evidence: evidence?, failures, next_page_token })
    }
}

fn view(row: EvidenceRow) -> Result<pb::EvidenceView, Fault> {
    let item = pb::EvidenceItem::decode(row.item.clone())
        .map_err(|error| Fault::new(&mesh::INTERNAL, "a piece of evidence can't be read").caused_by(error))?;
    Ok(pb::EvidenceView { item: Some(item), link: row.link.to_vec().into(), item_bytes: row.item })
}

/// One message a failure; what took its place is told with it.
fn failures(rows: Vec<FailureRow>) -> Vec<pb::EvidenceFailure> {
    let (settled, failed): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.superseded);
    let settled: HashMap<String, FailureRow> =
        settled.into_iter().map(|row| (row.failure_id.clone(), row)).collect();
    let message = |row: FailureRow| {
        let by = settled.get(&row.failure_id);
        pb::EvidenceFailure {
            failure_id: row.failure_id,
            run_id: row.run_id,
            attempt: row.attempt,
            step_index: u32::try_from(row.step_index).ok(),
            kind: row.kind,
            reason: EvidenceFailureReason::try_from(row.reason).unwrap_or_default().into(),
            detail: row.detail,
            resolution: by.map_or(row.resolution, |by| by.resolution),
            recorded_at: Some(timestamp(row.recorded_at)),
            superseded_by: by.map_or_else(String::new, |by| by.superseded_by.clone()),
        }
    };
    failed.into_iter().map(message).collect()
}
