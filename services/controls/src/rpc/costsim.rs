//! CostSimService.

use contracts_controls::v1::{self as pb, cost_sim_service_server::CostSimService};
use runspine_controls_domain::costsim::CostSimSettings;
use runspine_errors::{Fault, mesh};
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, checks::Checks, keyed};
use crate::app::{
    costsim::{settings_from, settings_to},
    settings::Change,
};

const SET: &str = "runspine.controls.v1.CostSimService/SetCostSimSettings";

#[tonic::async_trait]
impl CostSimService for Rpc {
    async fn get_cost_sim_settings(
        &self,
        request: Request<pb::GetCostSimSettingsRequest>,
    ) -> Result<Response<pb::GetCostSimSettingsResponse>, Status> {
        let context = context(&request)?;
        let settings = self.app.costsim_settings(&context.tenant_id).await.map_err(status)?;
        Ok(Response::new(pb::GetCostSimSettingsResponse { settings: Some(settings) }))
    }

    async fn set_cost_sim_settings(
        &self,
        request: Request<pb::SetCostSimSettingsRequest>,
    ) -> Result<Response<pb::SetCostSimSettingsResponse>, Status> {
        let context = context(&request)?;
        let request = request.into_inner();
        let change = parse(&request, &self.app.costsim).map_err(status)?;
        let keyed = keyed(&context, SET, &request.request_id, &request);
        self.app.set_costsim_settings(keyed, change).await.map(Response::new).map_err(status)
    }

    async fn get_cost_sim_status(
        &self,
        request: Request<pb::GetCostSimStatusRequest>,
    ) -> Result<Response<pb::GetCostSimStatusResponse>, Status> {
        let context = context(&request)?;
        self.app.costsim_status(&context.tenant_id).await.map(Response::new).map_err(status)
    }
}

fn parse(
    request: &pb::SetCostSimSettingsRequest,
    defaults: &CostSimSettings,
) -> Result<Change<pb::CostSimSettings>, Fault> {
    let mut checks = Checks::default();
    checks.request_id(&request.request_id);
    checks.reason(&request.reason, 10);
    let settings = settings_from(&request.settings.clone().unwrap_or_default(), defaults);
    for (field, what) in settings.wrong() {
        checks.require(false, &mesh::FIELD_INVALID, &format!("settings.{field}"), what);
    }
    let (expected, reason) = (request.expected_version, request.reason.clone());
    checks.done(Some(Change { expected, settings: settings_to(&settings), reason }))
}
