//! `TraceService`.

use std::sync::Arc;

use contracts_logs::v1::{self as pb, trace_service_server::TraceService};
use prost::Message as _;
use runspine_errors::Fault;
use runspine_rpc::{context, status};
use runspine_types::hash;
use tonic::{Request, Response, Status};

use super::{parse, present, watch};
use crate::{
    app::{App, append_addendum::Addendum},
    store::traces::TraceRef,
};

/// Serves traces.
pub struct Traces {
    /// The use cases.
    pub app: Arc<App>,
}

fn answer<T>(done: Result<T, Fault>) -> Result<Response<T>, Status> {
    done.map(Response::new).map_err(status)
}

fn stored<M: prost::Message + Default>(bytes: Result<bytes::Bytes, Fault>) -> Result<Response<M>, Status> {
    answer(bytes.and_then(|bytes| present::decode(&bytes)))
}

fn of(tenant_id: &str, run_id: &str, attempt: u32) -> TraceRef {
    TraceRef { tenant_id: tenant_id.to_owned(), run_id: run_id.to_owned(), attempt }
}

#[tonic::async_trait]
impl TraceService for Traces {
    async fn start_trace(
        &self,
        request: Request<pb::StartTraceRequest>,
    ) -> Result<Response<pb::StartTraceResponse>, Status> {
        let call = context(&request)?;
        let request = request.into_inner();
        parse::start(&request).map_err(status)?;
        answer(self.app.start_trace(&call, request).await.map(present::started))
    }

    async fn append_records(
        &self,
        request: Request<pb::AppendRecordsRequest>,
    ) -> Result<Response<pb::AppendRecordsResponse>, Status> {
        let call = context(&request)?;
        let request = request.into_inner();
        let of = of(&call.tenant_id, &request.run_id, request.attempt);
        let items = parse::append(request).map_err(status)?;
        let receipts = self.app.append_records(of, items).await.map_err(status)?;
        let receipts = receipts.into_iter().map(present::receipt).collect();
        Ok(Response::new(pb::AppendRecordsResponse { receipts }))
    }

    async fn append_addendum(
        &self,
        request: Request<pb::AppendAddendumRequest>,
    ) -> Result<Response<pb::AppendAddendumResponse>, Status> {
        let call = context(&request)?;
        let request = request.into_inner();
        let addendum = Addendum {
            of: of(&call.tenant_id, &request.run_id, request.attempt),
            request_id: request.request_id.clone(),
            request_digest: hash(&request.encode_to_vec()),
            reason: parse::words(&request.reason),
            items: parse::addendum(request).map_err(status)?,
        };
        stored(self.app.append_addendum(&call, addendum).await)
    }

    async fn seal_trace(
        &self,
        request: Request<pb::SealTraceRequest>,
    ) -> Result<Response<pb::SealTraceResponse>, Status> {
        let call = context(&request)?;
        let request = request.into_inner();
        parse::seal(&request).map_err(status)?;
        stored(self.app.seal_trace(&call, request).await)
    }

    async fn link_incident(
        &self,
        request: Request<pb::LinkIncidentRequest>,
    ) -> Result<Response<pb::LinkIncidentResponse>, Status> {
        let call = context(&request)?;
        let request = request.into_inner();
        parse::link(&request).map_err(status)?;
        let of = of(&call.tenant_id, &request.run_id, request.attempt);
        let link_id = self.app.link_incident(of, request.incident_id, request.step_index).await;
        answer(link_id.map(|link_id| pb::LinkIncidentResponse { link_id }))
    }

    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Result<Response<pb::GetReceiptResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        parse::receipt(&r).map_err(status)?;
        let item = self.app.get_receipt(&call.tenant_id, &r.run_id, r.attempt, &r.idempotency_key).await;
        answer(item.and_then(present::kept_item))
    }

    async fn get_trace(
        &self,
        request: Request<pb::GetTraceRequest>,
    ) -> Result<Response<pb::GetTraceResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        parse::run(&r.run_id).map_err(status)?;
        answer(self.app.get_trace(&call.tenant_id, &r.run_id, r.attempt).await.and_then(present::attempt))
    }

    async fn list_traces(
        &self,
        request: Request<pb::ListTracesRequest>,
    ) -> Result<Response<pb::ListTracesResponse>, Status> {
        let call = context(&request)?;
        let (filter, archived, page) = parse::list_traces(request.into_inner()).map_err(status)?;
        let found = self.app.list_traces(&call.tenant_id, filter, archived, page.size.probe()).await;
        let mut views = found.map_err(status)?;
        let key = |v: &crate::app::read_traces::TraceView| {
            vec![v.row.started_at.0.to_string(), v.row.trace_key.to_string()]
        };
        let next_page_token = page.cut(&mut views, key);
        let traces = views.into_iter().map(present::trace).collect::<Result<_, _>>();
        answer(traces.map(|traces| pb::ListTracesResponse { traces, next_page_token }))
    }

    async fn list_records(
        &self,
        request: Request<pb::ListRecordsRequest>,
    ) -> Result<Response<pb::ListRecordsResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let (filter, page) = parse::list_records(&r).map_err(status)?;
        let trace = self
            .app
            .find_kept_trace(&call.tenant_id, &r.run_id, r.attempt, r.addendum)
            .await
            .map_err(status)?;
        let found = self.app.list_records(trace.trace_key, &filter, page.size.probe()).await;
        let mut rows = found.map_err(status)?;
        let next_page_token =
            page.cut(&mut rows, |row| vec![row.started_at.0.to_string(), row.position.to_string()]);
        let late = trace.addendum > 0;
        // A client that is only passed on by the door gets no kept answers: they are the kernel's.
        let answers = r.include_answers && call.operation != "runspine.logs.v1.TraceService/ListRecords";
        let records = rows.into_iter().map(|row| present::record(row, late, answers));
        let records = records.collect::<Result<_, _>>();
        answer(records.map(|records| pb::ListRecordsResponse { records, next_page_token }))
    }

    type WatchRecordsStream = watch::Messages<pb::WatchRecordsResponse>;

    async fn watch_records(
        &self,
        request: Request<pb::WatchRecordsRequest>,
    ) -> Result<Response<Self::WatchRecordsStream>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        parse::run(&r.run_id).map_err(status)?;
        answer(watch::records(&self.app, &call.tenant_id, &r).await)
    }

    async fn archive_trace(
        &self,
        request: Request<pb::ArchiveTraceRequest>,
    ) -> Result<Response<pb::ArchiveTraceResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        parse::run(&r.run_id).map_err(status)?;
        let archived = self.app.archive_trace(&call, &r.run_id, r.attempt).await;
        let present =
            |(attempt, row)| pb::ArchiveTraceResponse { attempt, archive: Some(present::archive(row)) };
        answer(archived.map(present))
    }

    async fn compare_traces(
        &self,
        request: Request<pb::CompareTracesRequest>,
    ) -> Result<Response<pb::CompareTracesResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        let (left, right) = (r.left.unwrap_or_default(), r.right.unwrap_or_default());
        parse::compared(&left.run_id, &right.run_id).map_err(status)?;
        let sides = ((left.run_id.as_str(), left.attempt), (right.run_id.as_str(), right.attempt));
        answer(self.app.compare_traces(&call.tenant_id, sides).await)
    }

    async fn verify_trace(
        &self,
        request: Request<pb::VerifyTraceRequest>,
    ) -> Result<Response<pb::VerifyTraceResponse>, Status> {
        let call = context(&request)?;
        let r = request.into_inner();
        parse::run(&r.run_id).map_err(status)?;
        answer(self.app.verify_trace(&call.tenant_id, &r.run_id, r.attempt).await)
    }
}
