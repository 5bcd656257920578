//! Opens a replay, and in mode DRIVE starts its run.

use contracts_common::common::v1::RunSource;
use contracts_logs::v1 as logs;
use contracts_spine::v1::{
    ReplayMode, RunCharter, StartOutcome, StartReplayRequest, StartReplayResponse, StartRunRequest,
    StartRunResponse,
};
use runspine_errors::{Fault, Outcome};
use runspine_rpc::{Context, status};
use tonic::Status;

use super::{Replays, refused, words::same};
use crate::{
    bridges::Miss,
    kernel::{inside, validate},
    reasons,
};

/// The label by which the run of a replay names the run that it does again.
const REPLAY_OF: &str = "replay_of";
/// The range of a lease, in milliseconds.
const LEASE_MS: (u64, u64) = (5_000, 300_000);

impl Replays {
    /// Opens a replay. `execute` is whether the caller may execute runs too.
    ///
    /// # Errors
    /// REPLAY_SOURCE_UNPROVEN, what logs or the start of the run refuses, or when nothing could be written down.
    pub async fn start(
        &self,
        context: &Context,
        request: StartReplayRequest,
        execute: Outcome<()>,
    ) -> Result<StartReplayResponse, Status> {
        validate::replay(&request).map_err(status)?;
        let run = if request.mode() == ReplayMode::Drive {
            execute.map_err(status)?;
            Some(self.run_of(context, &request).await.map_err(status)?)
        } else {
            None
        };
        // The record is proved before anything is spent on doing it again.
        let order = self.order(&request, run.as_ref());
        let started = self.kernel.bridges.replays.start(context, order).await.map_err(unproven)?;
        let mut replay = started.replay.unwrap_or_default();
        let run = match run {
            None => None,
            Some(run) => Some(self.drive(context, run).await.map_err(status)?),
        };
        if run.as_ref().is_some_and(|run| run.outcome() == StartOutcome::Denied) {
            // Nobody will report a step: the replay ends with what it found, which is nothing.
            let finish = logs::FinishReplayRequest {
                request_id: request.request_id.clone(),
                replay_id: replay.replay_id.clone(),
            };
            let ended = self.kernel.bridges.replays.finish(context, finish).await.map_err(refused)?;
            replay = ended.replay.unwrap_or_default();
        }
        let plan: Result<Vec<_>, _> = started.plan.iter().map(same).collect();
        Ok(StartReplayResponse { replay: Some(same(&replay)?), plan: plan?, run })
    }

    fn order(&self, request: &StartReplayRequest, run: Option<&StartRunRequest>) -> logs::StartReplayRequest {
        let rule = |rule: &contracts_spine::v1::ReplayRule| logs::ReplayRule {
            step_index: rule.step_index,
            kind: rule.kind,
            behaviour: rule.behaviour,
        };
        logs::StartReplayRequest {
            request_id: request.request_id.clone(),
            run_id: request.run_id.clone(),
            attempt: request.attempt,
            level: request.level,
            rules: request.rules.iter().map(rule).collect(),
            timeout_ms: self.timeout_ms(request),
            stop_on_mismatch: request.stop_on_mismatch,
            seed: request.seed,
            driven_run_id: run.map(|run| run.run_id.clone()).unwrap_or_default(),
        }
    }

    fn timeout_ms(&self, request: &StartReplayRequest) -> u32 {
        if request.timeout_ms == 0 { self.timeout_ms } else { request.timeout_ms }
    }

    /// The run of mode DRIVE: what was recorded is asked for again, by whoever replays it, for the time of the replay.
    /// Its id belongs to the request from now on.
    async fn run_of(&self, context: &Context, request: &StartReplayRequest) -> Outcome<StartRunRequest> {
        let context = inside(context, &self.runs.get()?.start).for_run(&request.run_id);
        let recorded = self.kernel.attempt(&context, &request.run_id, request.attempt).await?;
        let charter = self.kernel.stored_charter(&context, &recorded).await?;
        let start = run_again(charter, request, self.timeout_ms(request).into());
        let run_id = self.kernel.run_id_of(&context, &start).await?;
        Ok(StartRunRequest { run_id, ..start })
    }

    async fn drive(&self, context: &Context, run: StartRunRequest) -> Outcome<StartRunResponse> {
        let context = inside(context, &self.runs.get()?.start);
        // Boxed: the largest of the kernel's futures.
        Box::pin(self.kernel.start_run(&context, run)).await
    }
}

fn run_again(recorded: RunCharter, request: &StartReplayRequest, timeout_ms: u64) -> StartRunRequest {
    let mut labels = recorded.labels;
    if labels.len() < validate::MOST_LABELS {
        labels.insert(REPLAY_OF.to_owned(), recorded.run_id);
    }
    StartRunRequest {
        request_id: request.request_id.clone(),
        project_id: recorded.project_id,
        agent_id: recorded.agent_id,
        agent_version: recorded.agent_version,
        origin_system_id: recorded.origin_system_id,
        source: RunSource::Replay.into(),
        priority: Some(recorded.priority),
        goal_digest: recorded.goal_digest,
        requested: request.requested.or(recorded.requested),
        run_timeout_ms: timeout_ms,
        lease_ttl_ms: timeout_ms.clamp(LEASE_MS.0, LEASE_MS.1),
        max_attempts: 1,
        max_inflight: recorded.max_inflight,
        labels,
        declared_tools: recorded.declared_tools,
        seed: Some(request.seed.unwrap_or(recorded.seed)),
        is_synthetic: recorded.is_synthetic,
        synthetic_scenario_id: recorded.synthetic_scenario_id,
        ..StartRunRequest::default()
    }
}

/// A record that is not proved is no measure.
fn unproven(miss: Miss) -> Status {
    let cause = miss.reason();
    if !matches!(cause.as_str(), "NOT_SEALED" | "PROOF_NOT_VERIFIED" | "TRACE_PURGED") {
        return refused(miss);
    }
    let text = "only a sealed attempt whose proof is VERIFIED is replayed";
    let fault = Fault::new(&reasons::REPLAY_SOURCE_UNPROVEN, text).with("cause", cause);
    status(fault.precondition("attempt", "is sealed, and its proof is VERIFIED"))
}
