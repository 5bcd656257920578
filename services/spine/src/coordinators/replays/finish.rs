//! Ends a replay, and in mode DRIVE its run before it.

use contracts_logs::v1 as logs;
use contracts_spine::v1::{
    CompleteRunRequest, CompleteRunResponse, FinishReplayRequest, FinishReplayResponse,
};
use runspine_errors::Outcome;
use runspine_rpc::{Context, status};
use tonic::Status;

use super::{Replays, invalid, name_run, refused, words::same};
use crate::{
    kernel::{inside, validate},
    reasons,
};

impl Replays {
    /// Ends a replay.
    ///
    /// # Errors
    /// What logs or the end of the run refuses, or when nothing could be written down.
    pub async fn finish(
        &self,
        context: &Context,
        request: FinishReplayRequest,
    ) -> Result<FinishReplayResponse, Status> {
        validate::finish_replay(&request).map_err(status)?;
        let replay = self.kept(context, &request.replay_id, false).await?.replay.unwrap_or_default();
        let run = match (replay.driven_run_id.as_str(), request.run) {
            ("", None) => None,
            ("", Some(_)) => return Err(invalid("run", "belongs to mode DRIVE")),
            (_, None) => return Err(invalid("run", "mode DRIVE: says how the run ends")),
            (run_id, Some(mut end)) => {
                name_run("run.run_id", &mut end.run_id, run_id)?;
                self.complete(context, end).await.map_err(status)?
            }
        };
        let finish =
            logs::FinishReplayRequest { request_id: request.request_id, replay_id: replay.replay_id };
        let ended = self.kernel.bridges.replays.finish(context, finish).await.map_err(refused)?;
        let replay = same(&ended.replay.unwrap_or_default())?;
        Ok(FinishReplayResponse { replay: Some(replay), run })
    }

    /// Ends the run as its agent says. One that ends already goes its own way, and the replay is ended all the same.
    async fn complete(
        &self,
        context: &Context,
        end: CompleteRunRequest,
    ) -> Outcome<Option<CompleteRunResponse>> {
        let context = inside(context, &self.runs.get()?.complete);
        match Box::pin(self.kernel.complete_run(&context, end)).await {
            Ok(ended) => Ok(Some(ended)),
            Err(fault) if fault.is(&reasons::COMPLETION_EXISTS) || fault.is(&reasons::LEASE_LAPSED) => {
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }
}
