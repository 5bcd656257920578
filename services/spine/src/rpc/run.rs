//! `RunService`.

use std::sync::Arc;

use contracts_spine::v1::{
    AuthorizeStepRequest, AuthorizeStepResponse, CancelRunRequest, CancelRunResponse, CompleteRunRequest,
    CompleteRunResponse, GetRunEvidenceRequest, GetRunEvidenceResponse, GetRunProofRequest,
    GetRunProofResponse, GetRunRequest, GetRunResponse, GovernRunRequest, PauseRunRequest, PauseRunResponse,
    RecordStepRequest, RecordStepResponse, RenewLeaseRequest, RenewLeaseResponse, ResumeRunRequest,
    ResumeRunResponse, StartRunRequest, StartRunResponse, WatchRunRequest, run_service_server::RunService,
};
use runspine_rpc::{Transport, context};
use tonic::{Request, Response, Status, Streaming};

use super::{
    answer,
    govern::{Answers, Frames},
};
use crate::{coordinators::watch::Watching, kernel::Kernel};

/// Serves `RunService` by the kernel.
#[derive(Clone)]
pub struct RunServer {
    kernel: Arc<Kernel>,
    frames: Frames,
    logs: Transport,
}

impl RunServer {
    /// A server over `kernel`; `logs` is the way to the streams of the ledger.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>, frames: Frames, logs: Transport) -> Self {
        Self { kernel, frames, logs }
    }
}

#[tonic::async_trait]
impl RunService for RunServer {
    type GovernRunStream = Answers;
    type WatchRunStream = Watching;

    async fn start_run(
        &self,
        request: Request<StartRunRequest>,
    ) -> Result<Response<StartRunResponse>, Status> {
        let context = context(&request)?;
        answer(Box::pin(self.kernel.start_run(&context, request.into_inner())).await)
    }

    async fn authorize_step(
        &self,
        request: Request<AuthorizeStepRequest>,
    ) -> Result<Response<AuthorizeStepResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.authorize_step(&context, request.into_inner()).await)
    }

    async fn record_step(
        &self,
        request: Request<RecordStepRequest>,
    ) -> Result<Response<RecordStepResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.record_step(&context, request.into_inner()).await)
    }

    async fn govern_run(
        &self,
        request: Request<Streaming<GovernRunRequest>>,
    ) -> Result<Response<Self::GovernRunStream>, Status> {
        let context = context(&request)?;
        Ok(Response::new(self.frames.govern(Arc::clone(&self.kernel), context, request.into_inner())))
    }

    async fn renew_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.renew_lease(&context, request.into_inner()).await)
    }

    async fn pause_run(
        &self,
        request: Request<PauseRunRequest>,
    ) -> Result<Response<PauseRunResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.pause_run(&context, request.into_inner()).await)
    }

    async fn resume_run(
        &self,
        request: Request<ResumeRunRequest>,
    ) -> Result<Response<ResumeRunResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.resume_run(&context, request.into_inner()).await)
    }

    async fn cancel_run(
        &self,
        request: Request<CancelRunRequest>,
    ) -> Result<Response<CancelRunResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.cancel_run(&context, request.into_inner()).await)
    }

    async fn complete_run(
        &self,
        request: Request<CompleteRunRequest>,
    ) -> Result<Response<CompleteRunResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.complete_run(&context, request.into_inner()).await)
    }

    async fn get_run(&self, request: Request<GetRunRequest>) -> Result<Response<GetRunResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.get_run(&context, request.into_inner()).await)
    }

    async fn watch_run(
        &self,
        request: Request<WatchRunRequest>,
    ) -> Result<Response<Self::WatchRunStream>, Status> {
        let context = context(&request)?;
        answer(self.kernel.watch_run(&context, request.into_inner(), &self.logs).await)
    }

    async fn get_run_evidence(
        &self,
        request: Request<GetRunEvidenceRequest>,
    ) -> Result<Response<GetRunEvidenceResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.run_evidence(&context, request.into_inner()).await)
    }

    async fn get_run_proof(
        &self,
        request: Request<GetRunProofRequest>,
    ) -> Result<Response<GetRunProofResponse>, Status> {
        let context = context(&request)?;
        answer(self.kernel.run_proof(&context, request.into_inner()).await)
    }
}
