//! RunStoreService.

use contracts_activity::v1::{run_store_service_server::RunStoreService, *};
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, parse};
use crate::app::{
    Who, answers, attempt, create, facts, finish, lapse, lease, pause, renew, state, stop, transition,
};

/// A write of one run: parse, do to the end, answer.
macro_rules! write {
    ($self:ident, $request:ident, $parse:path, $app:path) => {{
        let who = Who::of(&context(&$request)?);
        let request = $parse($request.into_inner()).map_err(status)?;
        let (app, tenant, run_id) = ($self.app.clone(), who.tenant.clone(), request.run_id.clone());
        let write = async move { $app(&app, who, request).await };
        $self.writing(&tenant, &run_id, write).await.map(Response::new).map_err(status)
    }};
}

/// A write that no state of a run depends on.
macro_rules! append {
    ($self:ident, $request:ident, $parse:path, $app:path) => {{
        let who = Who::of(&context(&$request)?);
        let request = $parse($request.into_inner()).map_err(status)?;
        $app(&$self.app, who, request).await.map(Response::new).map_err(status)
    }};
}

#[tonic::async_trait]
impl RunStoreService for Rpc {
    async fn create_run(
        &self,
        request: Request<CreateRunRequest>,
    ) -> Result<Response<CreateRunResponse>, Status> {
        write!(self, request, parse::create_run, create::create_run)
    }

    async fn create_attempt(
        &self,
        request: Request<CreateAttemptRequest>,
    ) -> Result<Response<CreateAttemptResponse>, Status> {
        write!(self, request, parse::create_attempt, attempt::create_attempt)
    }

    async fn transition_run(
        &self,
        request: Request<TransitionRunRequest>,
    ) -> Result<Response<TransitionRunResponse>, Status> {
        write!(self, request, parse::transition_run, transition::transition_run)
    }

    async fn finish_run(
        &self,
        request: Request<FinishRunRequest>,
    ) -> Result<Response<FinishRunResponse>, Status> {
        write!(self, request, parse::finish_run, finish::finish_run)
    }

    async fn get_run_state(
        &self,
        request: Request<GetRunStateRequest>,
    ) -> Result<Response<GetRunStateResponse>, Status> {
        let who = Who::of(&context(&request)?);
        let request = parse::get_run_state(request.into_inner()).map_err(status)?;
        state::get(&self.app, &who, &request).await.map(Response::new).map_err(status)
    }

    async fn grant_lease(
        &self,
        request: Request<GrantLeaseRequest>,
    ) -> Result<Response<GrantLeaseResponse>, Status> {
        write!(self, request, parse::grant_lease, lease::grant)
    }

    async fn renew_lease(
        &self,
        request: Request<RenewLeaseRequest>,
    ) -> Result<Response<RenewLeaseResponse>, Status> {
        write!(self, request, parse::renew_lease, renew::renew)
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseResponse>, Status> {
        write!(self, request, parse::release_lease, lease::release)
    }

    async fn claim_lapsed(
        &self,
        request: Request<ClaimLapsedRequest>,
    ) -> Result<Response<ClaimLapsedResponse>, Status> {
        let who = Who::of(&context(&request)?);
        let request = parse::claim_lapsed(request.into_inner()).map_err(status)?;
        let app = self.app.clone();
        let sweep = app.states.sweeping();
        let task = tokio::spawn(async move {
            let claimed = lapse::claim(&app, who, request).await;
            if let Ok(answer) = &claimed {
                let touched = answer.runs.iter().map(|run| (run.tenant_id.clone(), run.run_id.clone()));
                sweep.touched(touched.collect());
            }
            claimed
        });
        super::joined(task.await).map(Response::new).map_err(status)
    }

    async fn request_stop(
        &self,
        request: Request<RequestStopRequest>,
    ) -> Result<Response<RequestStopResponse>, Status> {
        write!(self, request, parse::request_stop, stop::request_stop)
    }

    async fn add_pause(
        &self,
        request: Request<AddPauseRequest>,
    ) -> Result<Response<AddPauseResponse>, Status> {
        write!(self, request, parse::add_pause, pause::add)
    }

    async fn extend_pause(
        &self,
        request: Request<ExtendPauseRequest>,
    ) -> Result<Response<ExtendPauseResponse>, Status> {
        write!(self, request, parse::extend_pause, pause::extend)
    }

    async fn clear_pauses(
        &self,
        request: Request<ClearPausesRequest>,
    ) -> Result<Response<ClearPausesResponse>, Status> {
        write!(self, request, parse::clear_pauses, pause::clear)
    }

    async fn keep_answer(
        &self,
        request: Request<KeepAnswerRequest>,
    ) -> Result<Response<KeepAnswerResponse>, Status> {
        append!(self, request, parse::keep_answer, answers::keep)
    }

    async fn get_answer(
        &self,
        request: Request<GetAnswerRequest>,
    ) -> Result<Response<GetAnswerResponse>, Status> {
        let who = Who::of(&context(&request)?);
        let request = parse::get_answer(request.into_inner()).map_err(status)?;
        answers::get(&self.app, &who, &request).await.map(Response::new).map_err(status)
    }

    async fn apply_facts(
        &self,
        request: Request<ApplyFactsRequest>,
    ) -> Result<Response<ApplyFactsResponse>, Status> {
        append!(self, request, parse::apply_facts, facts::apply)
    }

    async fn rebuild_projection(
        &self,
        request: Request<RebuildProjectionRequest>,
    ) -> Result<Response<RebuildProjectionResponse>, Status> {
        append!(self, request, parse::rebuild, facts::rebuild)
    }
}
