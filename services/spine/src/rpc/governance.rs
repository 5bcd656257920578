//! `GovernanceService`.

use std::sync::Arc;

use contracts_spine::v1::{
    CreatePolicyEvaluationRequest, CreatePolicyEvaluationResponse, EmitCriticalSuccessLessonRequest,
    EmitCriticalSuccessLessonResponse, EmitNearThresholdLessonRequest, EmitNearThresholdLessonResponse,
    ReportViolationRequest, ReportViolationResponse, governance_service_server::GovernanceService,
};
use runspine_rpc::context;
use tonic::{Request, Response, Status};

use super::answer;
use crate::kernel::Kernel;

/// Serves `GovernanceService` by the kernel.
#[derive(Clone)]
pub struct GovernanceServer {
    kernel: Arc<Kernel>,
}

impl GovernanceServer {
    /// A server over `kernel`.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>) -> Self {
        Self { kernel }
    }
}

#[tonic::async_trait]
impl GovernanceService for GovernanceServer {
    async fn create_policy_evaluation(
        &self,
        request: Request<CreatePolicyEvaluationRequest>,
    ) -> Result<Response<CreatePolicyEvaluationResponse>, Status> {
        let context = context(&request)?;
        answer(Box::pin(self.kernel.create_policy_evaluation(&context, request.into_inner())).await)
    }

    async fn emit_near_threshold_lesson(
        &self,
        request: Request<EmitNearThresholdLessonRequest>,
    ) -> Result<Response<EmitNearThresholdLessonResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.emit_near_threshold(&context, request.into_inner()).await)
    }

    async fn emit_critical_success_lesson(
        &self,
        request: Request<EmitCriticalSuccessLessonRequest>,
    ) -> Result<Response<EmitCriticalSuccessLessonResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.emit_critical_success(&context, request.into_inner()).await)
    }

    async fn report_violation(
        &self,
        request: Request<ReportViolationRequest>,
    ) -> Result<Response<ReportViolationResponse>, Status> {
        let context = context(&request)?;
        answer(Box::pin(self.kernel.report_violation(&context, request.into_inner())).await)
    }
}
