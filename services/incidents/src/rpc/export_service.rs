//! IncidentExportService.

use contracts_incidents::v1::{self as pb, incident_export_service_server::IncidentExportService};
use prost::Message as _;
use runspine_errors::Outcome;
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, parse};
use crate::app::decode_place;

#[tonic::async_trait]
impl IncidentExportService for Rpc {
    async fn prepare_export(
        &self,
        request: Request<pb::PrepareExportRequest>,
    ) -> Result<Response<pb::PrepareExportResponse>, Status> {
        let act = self.app.act(&context(&request)?);
        let new = parse::prepare(request.into_inner()).map_err(status)?;
        let export = self.app.prepare_export(act, new).await.map_err(status)?;
        Ok(Response::new(pb::PrepareExportResponse { export: Some(export) }))
    }

    async fn complete_export(
        &self,
        request: Request<pb::CompleteExportRequest>,
    ) -> Result<Response<pb::CompleteExportResponse>, Status> {
        let act = self.app.act(&context(&request)?);
        let ending = parse::complete(request.into_inner()).map_err(status)?;
        let export = self.app.end_export(act, ending).await.map_err(status)?;
        Ok(Response::new(pb::CompleteExportResponse { export: Some(export) }))
    }

    async fn fail_export(
        &self,
        request: Request<pb::FailExportRequest>,
    ) -> Result<Response<pb::FailExportResponse>, Status> {
        let act = self.app.act(&context(&request)?);
        let ending = parse::fail(request.into_inner()).map_err(status)?;
        let export = self.app.end_export(act, ending).await.map_err(status)?;
        Ok(Response::new(pb::FailExportResponse { export: Some(export) }))
    }

    async fn get_incident_export(
        &self,
        request: Request<pb::GetIncidentExportRequest>,
    ) -> Result<Response<pb::GetIncidentExportResponse>, Status> {
        let context = context(&request)?;
        let id = parse::export_id(request.into_inner().export_id).map_err(status)?;
        let (export, part) = self.app.export(&context.tenant_id, &id).await.map_err(status)?;
        Ok(Response::new(pb::GetIncidentExportResponse { export: Some(export), part }))
    }

    async fn list_incident_exports(
        &self,
        request: Request<pb::ListIncidentExportsRequest>,
    ) -> Result<Response<pb::ListIncidentExportsResponse>, Status> {
        let context = context(&request)?;
        let page = self.page(&context.tenant_id, request.into_inner()).await;
        page.map(Response::new).map_err(status)
    }
}

impl Rpc {
    async fn page(
        &self,
        tenant: &str,
        r: pb::ListIncidentExportsRequest,
    ) -> Outcome<pb::ListIncidentExportsResponse> {
        let size = parse::exports(&r)?;
        let unpaged = pb::ListIncidentExportsRequest { page_size: 0, page_token: String::new(), ..r.clone() };
        let query = runspine_types::hash(&unpaged.encode_to_vec());
        let before = decode_place(&r.page_token, query)?;
        let mut found = self.app.exports(tenant, &r.incident_id, before, size.probe()).await?;
        let next_page_token = size.cut(&mut found, query, |(id, _)| vec![id.to_string()]);
        let exports = found.into_iter().map(|(_, export)| export).collect();
        Ok(pb::ListIncidentExportsResponse { exports, next_page_token })
    }
}
