//! `MismatchService`.

use std::sync::Arc;

use contracts_logs::v1::{self as pb, MismatchState, mismatch_service_server::MismatchService};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_rpc::{context, status};
use runspine_types::{Micros, hash, is_code, is_uuid, is_uuid_v7, new_id};
use tonic::{Request, Response, Status};

use super::{
    audit::fields::{Fields, page_after, page_key},
    present,
};
use crate::{
    app::{App, mismatches::present as shown, once::Once},
    store::mismatches::{Filter, MismatchRow},
};

const REPORT: &str = "runspine.logs.v1.MismatchService/ReportMismatch";
const RESOLVE: &str = "runspine.logs.v1.MismatchService/ResolveMismatch";

/// Serves mismatches.
pub struct Mismatches {
    /// The use cases.
    pub app: Arc<App>,
}

#[tonic::async_trait]
impl MismatchService for Mismatches {
    async fn report_mismatch(
        &self,
        request: Request<pb::ReportMismatchRequest>,
    ) -> Result<Response<pb::ReportMismatchResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let once = Once::new(&call, REPORT, &r.request_id, &r);
        let row = reported(r).map_err(status)?;
        let answer = self.app.report_mismatch(&call, once, row).await;
        answer.and_then(|bytes| present::decode(&bytes)).map(Response::new).map_err(status)
    }

    async fn list_mismatches(
        &self,
        request: Request<pb::ListMismatchesRequest>,
    ) -> Result<Response<pb::ListMismatchesResponse>, Status> {
        let call = context(&request)?;
        self.list(&call.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn resolve_mismatch(
        &self,
        request: Request<pb::ResolveMismatchRequest>,
    ) -> Result<Response<pb::ResolveMismatchResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let once = Once::new(&call, RESOLVE, &r.request_id, &r);
        let mut fields = Fields::new();
        fields.require(is_uuid(&r.mismatch_id), "mismatch_id", "is a UUID");
        let note = fields.words("note", r.note, (10, 4_096));
        fields.request_id(r.request_id);
        fields.done().map_err(status)?;
        let answer = self.app.resolve_mismatch(&call, (once, r.mismatch_id, note)).await;
        answer.and_then(|bytes| present::decode(&bytes)).map(Response::new).map_err(status)
    }
}

fn reported(r: pb::ReportMismatchRequest) -> Result<MismatchRow, Fault> {
    let mut fields = Fields::new();
    fields.require(is_uuid_v7(&r.run_id), "run_id", "is a UUIDv7");
    fields.require(r.attempt >= 1, "attempt", "is at least 1");
    fields.require(is_code(&r.reason), "reason", "is a code");
    fields.digest("expected_digest", &r.expected_digest);
    fields.digest("actual_digest", &r.actual_digest);
    let row = MismatchRow {
        id: 0,
        mismatch_id: new_id(),
        run_id: r.run_id,
        attempt: r.attempt,
        step_index: r.step_index,
        reason: r.reason,
        expected_digest: r.expected_digest,
        actual_digest: r.actual_digest,
        details: fields.words("details", r.details, (0, 4_096)),
        reporter: String::new(),
        previous_id: fields.optional_id("previous_id", r.previous_id),
        incident_id: fields.text("incident_id", r.incident_id, (0, 128)),
        external_ref: fields.text("external_ref", r.external_ref, (0, 256)),
        reported_at: Micros(0),
        replay_id: String::new(),
        note: None,
        resolved_by: None,
        resolved_at: None,
    };
    fields.request_id(r.request_id);
    fields.done()?;
    Ok(row)
}

impl Mismatches {
    async fn list(
        &self,
        tenant: &str,
        r: pb::ListMismatchesRequest,
    ) -> Result<pb::ListMismatchesResponse, Fault> {
        let unpaged = pb::ListMismatchesRequest { page_size: 0, page_token: String::new(), ..r.clone() };
        let query = hash(&unpaged.encode_to_vec());
        let mut fields = Fields::new();
        let state = fields.any::<MismatchState>("state", r.state);
        let size = fields.page_size(r.page_size);
        fields.require(r.run_id.is_empty() || is_uuid_v7(&r.run_id), "run_id", "is a UUIDv7");
        let (from, to) = (
            fields.optional_time("reported_from", r.reported_from.as_ref()),
            fields.optional_time("reported_to", r.reported_to.as_ref()),
        );
        fields.done()?;
        let filter = Filter {
            run_id: (!r.run_id.is_empty()).then_some(r.run_id),
            reason: (!r.reason.is_empty()).then_some(r.reason),
            resolved: (state != MismatchState::Unspecified).then_some(state == MismatchState::Resolved),
            from,
            to,
            before: page_after(&r.page_token, query)?.map(|[at, id]| (at, id)),
        };
        let mut rows = self.app.list_mismatches(tenant, &filter, size.probe()).await?;
        let next_page_token = size.cut(&mut rows, query, |row| page_key([row.reported_at.0, row.id]));
        Ok(pb::ListMismatchesResponse { mismatches: rows.into_iter().map(shown).collect(), next_page_token })
    }
}
