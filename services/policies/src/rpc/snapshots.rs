//! SnapshotService.

use contracts_common::common::v1::Directive;
use contracts_policies::v1 as pb;
use contracts_policies::v1::snapshot_service_server::SnapshotService;
use prost::Message as _;
use runspine_errors::{Fault, Violations, mesh};
use runspine_policies_domain::{
    schema,
    words::{Action, SnapshotState},
};
use tonic::{Request, Response, Status};

use super::{Rpc, answer, page, parse};
use crate::app::snapshots::message;

#[tonic::async_trait]
impl SnapshotService for Rpc {
    async fn get_active_snapshot(
        &self,
        request: Request<pb::GetActiveSnapshotRequest>,
    ) -> Result<Response<pb::GetActiveSnapshotResponse>, Status> {
        let (who, r) = self.open(request)?;
        let found = self.app.active_snapshot(&who, r.include_text).await;
        answer(found.map(|s| pb::GetActiveSnapshotResponse { snapshot: Some(s) }))
    }

    async fn get_snapshot(
        &self,
        request: Request<pb::GetSnapshotRequest>,
    ) -> Result<Response<pb::GetSnapshotResponse>, Status> {
        let (who, r) = self.open(request)?;
        let found = match parse::digest("digest", &r.digest) {
            Ok(digest) => self.app.snapshot(&who, digest, r.include_text).await,
            Err(fault) => Err(fault),
        };
        answer(found.map(|s| pb::GetSnapshotResponse { snapshot: Some(s) }))
    }

    async fn list_snapshots(
        &self,
        request: Request<pb::ListSnapshotsRequest>,
    ) -> Result<Response<pb::ListSnapshotsResponse>, Status> {
        let (who, mut r) = self.open(request)?;
        let (size, token) = (r.page_size, std::mem::take(&mut r.page_token));
        r.page_size = 0;
        let mut v = Violations::new();
        parse::known(&mut v, "states", &r.states, SnapshotState::from_code);
        answer(match page::filtered(v, "snapshots", &r.encode_to_vec(), size, &token) {
            Err(fault) => Err(fault),
            Ok(asked) => self.app.snapshots(&who, &r, asked.page()).await.map(|rows| {
                let rows = rows.iter().map(|row| (row.id, message(row, None))).collect();
                let (snapshots, next_page_token) = asked.cut(rows);
                pb::ListSnapshotsResponse { snapshots, next_page_token }
            }),
        })
    }

    async fn diff_snapshots(
        &self,
        request: Request<pb::DiffSnapshotsRequest>,
    ) -> Result<Response<pb::DiffSnapshotsResponse>, Status> {
        let (who, r) = self.open(request)?;
        let from = parse::digest("from_digest", &r.from_digest);
        let to = match r.to_digest.is_empty() {
            true => Ok(None),
            false => parse::digest("to_digest", &r.to_digest).map(Some),
        };
        answer(match from.and_then(|from| Ok((from, to?))) {
            Ok((from, to)) => self.app.diff_snapshots(&who, from, to).await,
            Err(fault) => Err(fault),
        })
    }

    async fn get_schema(
        &self,
        request: Request<pb::GetSchemaRequest>,
    ) -> Result<Response<pb::GetSchemaResponse>, Status> {
        let (_, r) = self.open(request)?;
        if r.version > schema::SCHEMA_VERSION {
            let fault = Fault::new(&mesh::FIELD_INVALID, "1 field(s) of the request are invalid");
            return answer(Err(fault.field("version", "OUT_OF_RANGE", "only version 1 exists")));
        }
        answer(Ok(pb::GetSchemaResponse {
            version: schema::SCHEMA_VERSION,
            text: schema::SCHEMA_TEXT.to_owned(),
            digest: schema::digest().to_vec().into(),
            actions: Action::ALL.iter().map(|a| a.as_str().to_owned()).collect(),
        }))
    }

    async fn verify_snapshot(
        &self,
        request: Request<pb::VerifySnapshotRequest>,
    ) -> Result<Response<pb::VerifySnapshotResponse>, Status> {
        let (who, r) = self.open(request)?;
        let parsed = parse::request_id(&r.request_id).and(parse::digest("digest", &r.digest));
        answer(match parsed {
            Ok(digest) => self.app.verify_snapshot(&who, &r, digest).await,
            Err(fault) => Err(fault),
        })
    }

    async fn recall_snapshot(
        &self,
        request: Request<pb::RecallSnapshotRequest>,
    ) -> Result<Response<pb::RecallSnapshotResponse>, Status> {
        let (who, r) = self.open(request)?;
        let parsed = parse::request_id(&r.request_id).and(parse::digest("digest", &r.digest));
        let stops = matches!(r.directive(), Directive::Pause | Directive::Terminate);
        answer(match parsed {
            Err(fault) => Err(fault),
            Ok(_) if !stops => {
                let fault = Fault::new(&mesh::FIELD_INVALID, "1 field(s) of the request are invalid");
                Err(fault.field("directive", "OUT_OF_RANGE", "PAUSE or TERMINATE"))
            }
            Ok(digest) => self.app.recall_snapshot(&who, &r, digest).await,
        })
    }
}
