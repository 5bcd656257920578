//! Replays under the mesh: logs keeps and compares them, policies say what the rules decide, and in mode DRIVE the
//! kernel runs the steps as a run of their own. Nothing here outlives a call; whatever a replay is, is in logs and on the
//! trace of its run.

mod decide;
mod finish;
mod start;
mod steps;
mod words;

use std::sync::Arc;

use contracts_logs::v1 as logs;
use contracts_spine::v1::{GetReplayRequest, GetReplayResponse, ListReplaysRequest, ListReplaysResponse};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Context, status};
use tonic::Status;

pub use self::steps::Answers;
use self::words::same;
use crate::{
    bridges::Miss,
    kernel::{Kernel, RunOperations},
    reasons,
};

/// The coordinator of one replica. Cheap to clone.
#[derive(Clone)]
pub struct Replays {
    kernel: Arc<Kernel>,
    runs: RunOperations,
    /// Time of a replay that names none, in milliseconds.
    timeout_ms: u32,
}

impl Replays {
    /// A coordinator that drives runs by `kernel`, as the operations `runs`.
    #[must_use]
    pub fn new(kernel: Arc<Kernel>, runs: RunOperations, timeout_ms: u32) -> Self {
        Self { kernel, runs, timeout_ms }
    }

    /// One replay.
    ///
    /// # Errors
    /// What logs refuses, or when it can't be asked.
    pub async fn get(
        &self,
        context: &Context,
        request: GetReplayRequest,
    ) -> Result<GetReplayResponse, Status> {
        let found = self.kernel.bridges.replays.get(context, same(&request)?).await.map_err(refused)?;
        same(&found)
    }

    /// Replays, newest first.
    ///
    /// # Errors
    /// What logs refuses, or when it can't be asked.
    pub async fn list(
        &self,
        context: &Context,
        request: ListReplaysRequest,
    ) -> Result<ListReplaysResponse, Status> {
        let found = self.kernel.bridges.replays.list(context, same(&request)?).await.map_err(refused)?;
        same(&found)
    }

    /// A replay as logs keeps it.
    async fn kept(
        &self,
        context: &Context,
        replay_id: &str,
        plan: bool,
    ) -> Result<logs::GetReplayResponse, Status> {
        let get = logs::GetReplayRequest { replay_id: replay_id.to_owned(), checks: 0, plan };
        self.kernel.bridges.replays.get(context, get).await.map_err(refused)
    }
}

/// What logs refused is said in its own words: the caller asked for exactly this.
fn refused(miss: Miss) -> Status {
    if miss.is_refusal() {
        return miss.into_status();
    }
    status(miss.into_fault(&reasons::SOURCES_INCOMPLETE))
}

fn invalid(field: &str, what: &str) -> Status {
    status(Fault::new(&mesh::FIELD_INVALID, what.to_owned()).field(field, "FIELD_INVALID", what))
}

/// Names the run that a request of `RunService` inside a replay is about: that of the replay, which may be left out.
fn name_run(field: &str, asked: &mut String, run_id: &str) -> Result<(), Status> {
    if asked.is_empty() {
        run_id.clone_into(asked);
    }
    if asked == run_id { Ok(()) } else { Err(invalid(field, "is the run of the replay")) }
}
