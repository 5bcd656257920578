//! HealthService.

use contracts_policies::v1 as pb;
use contracts_policies::v1::health_service_server::HealthService;
use tonic::{Request, Response, Status};

use super::{Rpc, answer};

#[tonic::async_trait]
impl HealthService for Rpc {
    async fn get_policy_health(
        &self,
        request: Request<pb::GetPolicyHealthRequest>,
    ) -> Result<Response<pb::GetPolicyHealthResponse>, Status> {
        let (who, _) = self.open(request)?;
        answer(Ok(self.app.health(&who).await))
    }
}
