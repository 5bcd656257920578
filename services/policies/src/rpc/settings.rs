//! SettingsService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::settings_service_server::SettingsService;
use tonic::{Request, Response, Status};

use super::{Rpc, answer, parse, parse_rule};

#[tonic::async_trait]
impl SettingsService for Rpc {
    async fn get_policy_settings(
        &self,
        request: Request<pb::GetPolicySettingsRequest>,
    ) -> Result<Response<pb::GetPolicySettingsResponse>, Status> {
        let (who, _) = self.open(request)?;
        let settings = self.app.settings(&who).await;
        answer(settings.map(|s| pb::GetPolicySettingsResponse { settings: Some(s) }))
    }

    async fn set_policy_settings(
        &self,
        request: Request<pb::SetPolicySettingsRequest>,
    ) -> Result<Response<pb::SetPolicySettingsResponse>, Status> {
        let (who, r) = self.open(request)?;
        let parsed = parse::request_id(&r.request_id).and(parse_rule::settings(r.settings.clone()));
        answer(match parsed {
            Ok(settings) => self.app.set_settings(&who, &r, settings).await,
            Err(fault) => Err(fault),
        })
    }
}
