//! RunQueryService.

use contracts_activity::v1::{
    CountRunsRequest, CountRunsResponse, GetRunViewRequest, GetRunViewResponse, ListRunsRequest,
    ListRunsResponse, run_query_service_server::RunQueryService,
};
use runspine_rpc::{context, status};
use tonic::{Request, Response, Status};

use super::{Rpc, parse_query};
use crate::app::{Who, query};

#[tonic::async_trait]
impl RunQueryService for Rpc {
    async fn list_runs(
        &self,
        request: Request<ListRunsRequest>,
    ) -> Result<Response<ListRunsResponse>, Status> {
        let who = Who::of(&context(&request)?);
        let request = parse_query::list_runs(request.into_inner()).map_err(status)?;
        query::list_runs(&self.app, &who, request).await.map(Response::new).map_err(status)
    }

    async fn get_run_view(
        &self,
        request: Request<GetRunViewRequest>,
    ) -> Result<Response<GetRunViewResponse>, Status> {
        let who = Who::of(&context(&request)?);
        let request = parse_query::get_run_view(request.into_inner()).map_err(status)?;
        query::get_run_view(&self.app, &who, request).await.map(Response::new).map_err(status)
    }

    async fn count_runs(
        &self,
        request: Request<CountRunsRequest>,
    ) -> Result<Response<CountRunsResponse>, Status> {
        let who = Who::of(&context(&request)?);
        let request = parse_query::count_runs(request.into_inner()).map_err(status)?;
        query::count_runs(&self.app, &who, request).await.map(Response::new).map_err(status)
    }
}
