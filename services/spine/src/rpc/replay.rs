//! `ReplayCoordinatorService`.

use contracts_spine::v1::{
    FinishReplayRequest, FinishReplayResponse, GetReplayRequest, GetReplayResponse, ListReplaysRequest,
    ListReplaysResponse, ReplayStepsRequest, StartReplayRequest, StartReplayResponse,
    replay_coordinator_service_server::ReplayCoordinatorService,
};
use runspine_rpc::context;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    coordinators::replays::{Answers, Replays},
    door::{self, Caller},
};

/// What mode DRIVE needs besides.
const EXECUTE: &str = "runs.execute";

/// Serves `ReplayCoordinatorService`.
#[derive(Clone)]
pub struct ReplayServer {
    replays: Replays,
}

impl ReplayServer {
    /// A server over `replays`.
    #[must_use]
    pub fn new(replays: Replays) -> Self {
        Self { replays }
    }
}

#[tonic::async_trait]
impl ReplayCoordinatorService for ReplayServer {
    type ReplayStepsStream = Answers;

    async fn start_replay(
        &self,
        request: Request<StartReplayRequest>,
    ) -> Result<Response<StartReplayResponse>, Status> {
        let context = context(&request)?;
        let execute = door::also(&context, request.extensions().get::<Caller>(), EXECUTE);
        Box::pin(self.replays.start(&context, request.into_inner(), execute)).await.map(Response::new)
    }

    async fn replay_steps(
        &self,
        request: Request<Streaming<ReplayStepsRequest>>,
    ) -> Result<Response<Self::ReplayStepsStream>, Status> {
        let context = context(&request)?;
        Ok(Response::new(self.replays.steps(context, request.into_inner())))
    }

    async fn finish_replay(
        &self,
        request: Request<FinishReplayRequest>,
    ) -> Result<Response<FinishReplayResponse>, Status> {
        let context = context(&request)?;
        self.replays.finish(&context, request.into_inner()).await.map(Response::new)
    }

    async fn get_replay(
        &self,
        request: Request<GetReplayRequest>,
    ) -> Result<Response<GetReplayResponse>, Status> {
        let context = context(&request)?;
        self.replays.get(&context, request.into_inner()).await.map(Response::new)
    }

    async fn list_replays(
        &self,
        request: Request<ListReplaysRequest>,
    ) -> Result<Response<ListReplaysResponse>, Status> {
        let context = context(&request)?;
        self.replays.list(&context, request.into_inner()).await.map(Response::new)
    }
}
