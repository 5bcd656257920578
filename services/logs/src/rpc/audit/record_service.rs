//! `RecordService`.

use std::sync::Arc;

use contracts_logs::v1::{self as pb, record_service_server::RecordService};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_rpc::{context, status};
use runspine_types::hash;
use tonic::{Request, Response, Status};

use super::{
    dispatch_parse as parse,
    fields::{page_after, page_key},
    llm_runs, system,
};
use crate::{app::audit::Audit, store::dispatch};

/// Serves the records that belong to no single trace.
pub struct Records(pub Arc<Audit>);

#[tonic::async_trait]
impl RecordService for Records {
    async fn append_dispatches(
        &self,
        request: Request<pb::AppendDispatchesRequest>,
    ) -> Result<Response<pb::AppendDispatchesResponse>, Status> {
        let context = context(&request)?;
        let now = self.0.clock.now();
        let records = parse::append(&context.tenant_id, request.into_inner(), now).map_err(status)?;
        let dispatch_ids = records.iter().map(|record| record.dispatch_id.clone()).collect();
        self.0.append_dispatches(records).await.map_err(status)?;
        Ok(Response::new(pb::AppendDispatchesResponse { dispatch_ids }))
    }

    async fn list_dispatches(
        &self,
        request: Request<pb::ListDispatchesRequest>,
    ) -> Result<Response<pb::ListDispatchesResponse>, Status> {
        let context = context(&request)?;
        self.list(&context.tenant_id, request.into_inner()).await.map(Response::new).map_err(status)
    }

    async fn list_llm_runs(
        &self,
        request: Request<pb::ListLlmRunsRequest>,
    ) -> Result<Response<pb::ListLlmRunsResponse>, Status> {
        let context = context(&request)?;
        let page = llm_runs::list(&self.0.db, &context.tenant_id, request.into_inner()).await;
        page.map(Response::new).map_err(status)
    }

    async fn get_llm_run(
        &self,
        request: Request<pb::GetLlmRunRequest>,
    ) -> Result<Response<pb::GetLlmRunResponse>, Status> {
        let context = context(&request)?;
        let found = llm_runs::get(&self.0.db, &context.tenant_id, request.into_inner()).await;
        Ok(Response::new(pb::GetLlmRunResponse { llm_run: Some(found.map_err(status)?) }))
    }

    async fn append_system_record(
        &self,
        request: Request<pb::AppendSystemRecordRequest>,
    ) -> Result<Response<pb::AppendSystemRecordResponse>, Status> {
        let context = context(&request)?;
        let told = system::told(&context.tenant_id, request.into_inner()).map_err(status)?;
        self.0.append_system(told).await.map(Response::new).map_err(status)
    }

    async fn list_system_records(
        &self,
        request: Request<pb::ListSystemRecordsRequest>,
    ) -> Result<Response<pb::ListSystemRecordsResponse>, Status> {
        let context = context(&request)?;
        let page = system::list(&self.0.db, &context.tenant_id, request.into_inner()).await;
        page.map(Response::new).map_err(status)
    }

    async fn get_replay_window(
        &self,
        request: Request<pb::GetReplayWindowRequest>,
    ) -> Result<Response<pb::GetReplayWindowResponse>, Status> {
        let context = context(&request)?;
        let window = system::window(&self.0, &context.tenant_id, request.into_inner()).await;
        window.map(Response::new).map_err(status)
    }
}

impl Records {
    async fn list(
        &self,
        tenant: &str,
        request: pb::ListDispatchesRequest,
    ) -> Result<pb::ListDispatchesResponse, Fault> {
        let unpaged =
            pb::ListDispatchesRequest { page_token: String::new(), page_size: 0, ..request.clone() };
        let query = hash(&unpaged.encode_to_vec());
        let (filter, size) = parse::list(&request)?;
        let after = page_after(&request.page_token, query)?.map(|[at, id]| (at, id));
        let mut rows = dispatch::list(self.0.db.read(), tenant, &filter, after, size.probe()).await?;
        let next_page_token = size.cut(&mut rows, query, |row| page_key([row.occurred_at.0, row.id]));
        let dispatches: Result<Vec<_>, Fault> =
            rows.into_iter().map(|row| parse::record(row.record)).collect();
        Ok(pb::ListDispatchesResponse { dispatches: dispatches?, next_page_token })
    }
}
