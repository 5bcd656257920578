//! The steps of a replay on one stream, answered in order. A step is reported to logs on a stream beside it, so that the
//! record is read once for all of them.

use std::{collections::BTreeMap, pin::Pin};

use contracts_common::common::v1::StepOutcome;
use contracts_logs::v1::{self as logs, ReplayLevel, ReplayState};
use contracts_spine::v1::{
    AuthorizeStepRequest, RecordStepRequest, ReplayBehaviour, ReplayStepsRequest, ReplayStepsResponse,
    ReplayVerdict, ReplayedStep,
};
use futures::{Stream, stream};
use runspine_errors::{Fault, mesh};
use runspine_rpc::{Context, micros, status};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Replays, invalid, name_run, refused, words::same};
use crate::{
    kernel::{inside, outcome_code, validate},
    metrics, reasons,
};

/// What the agent gets.
pub type Answers = Pin<Box<dyn Stream<Item = Result<ReplayStepsResponse, Status>> + Send>>;

impl Replays {
    /// Serves one stream.
    pub fn steps(&self, context: Context, messages: Streaming<ReplayStepsRequest>) -> Answers {
        let serving = Serving { replays: self.clone(), context, messages, open: None };
        Box::pin(stream::try_unfold(Some(serving), |serving| async move {
            let Some(mut serving) = serving else { return Ok(None) };
            let Some((answer, last)) = serving.next().await? else { return Ok(None) };
            Ok(Some((answer, (!last).then_some(serving))))
        }))
    }

    /// Reads a replay and its plan, and opens the stream to logs.
    async fn open(&self, context: &Context, replay_id: &str) -> Result<Open, Status> {
        let kept = self.kept(context, replay_id, true).await?;
        let (reports, incoming) = mpsc::channel(1);
        let answers = self.kernel.bridges.replays.check(context, ReceiverStream::new(incoming)).await;
        Ok(Open {
            replay: kept.replay.unwrap_or_default(),
            plan: kept.plan.into_iter().map(|step| (step.step_index, step)).collect(),
            reports,
            answers: answers.map_err(refused)?,
        })
    }
}

/// A stream of steps, and its replay once the first message said which it is.
struct Serving {
    replays: Replays,
    context: Context,
    messages: Streaming<ReplayStepsRequest>,
    open: Option<Open>,
}

/// A replay that takes steps.
struct Open {
    replay: logs::Replay,
    plan: BTreeMap<u32, logs::ReplayPlanStep>,
    reports: mpsc::Sender<logs::CheckReplayStepsRequest>,
    answers: Streaming<logs::CheckReplayStepsResponse>,
}

impl Serving {
    /// The answer to the next message, and whether it is the last; none when the agent has said everything.
    async fn next(&mut self) -> Result<Option<(ReplayStepsResponse, bool)>, Status> {
        let Some(message) = self.messages.message().await? else { return Ok(None) };
        validate::replay_step(&message).map_err(status)?;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.replays.open(&self.context, &message.replay_id).await?,
        };
        if open.replay.replay_id != message.replay_id {
            return Err(invalid("replay_id", "is the same in every message of a stream"));
        }
        self.require_open(&open)?;
        // Boxed: a step of a run holds all that the kernel asks for.
        let answer = if open.replay.driven_run_id.is_empty() {
            Box::pin(self.observed(&mut open, message)).await?
        } else {
            Box::pin(self.driven(&mut open, message)).await?
        };
        let last = open.replay.stop_on_mismatch && answer.verdict() == ReplayVerdict::Mismatch;
        self.open = Some(open);
        Ok(Some((answer, last)))
    }

    /// A replay whose time is over takes nothing, whether or not logs has ended it yet.
    fn require_open(&self, open: &Open) -> Result<(), Status> {
        let over = open.replay.expires_at.as_ref().is_none_or(|at| micros(at) <= self.replays.kernel.now());
        if open.replay.state() != ReplayState::Finished && !over {
            return Ok(());
        }
        let fault = Fault::new(&reasons::REPLAY_CLOSED, "the replay was ended; start another");
        let of = format!("replays/{}", open.replay.replay_id);
        Err(status(fault.precondition(of, "is RUNNING")))
    }

    /// A step that was done outside the mesh: the rules of then are asked about it, and it is compared.
    async fn observed(
        &self,
        open: &mut Open,
        message: ReplayStepsRequest,
    ) -> Result<ReplayStepsResponse, Status> {
        let Some(step) = message.step.filter(|_| message.record.is_none()) else {
            return Err(invalid("step", "mode OBSERVE: is given, and no record"));
        };
        let mut report = report(&step)?;
        let compared = matches!(open.replay.level(), ReplayLevel::Logical | ReplayLevel::Semantic);
        let planned = open.plan.get(&step.step_index);
        if let Some(recorded) = planned.filter(|p| compared && p.behaviour() == logs::ReplayBehaviour::Check)
        {
            let done = message.ask.map_or_else(|| named(&step), in_place);
            report.decisions = self.replays.decided(&self.context, recorded, &done).await?;
        }
        open.check(report).await
    }

    /// A step of the run of its own: asked about before it is done, and recorded before it is compared.
    async fn driven(
        &self,
        open: &mut Open,
        message: ReplayStepsRequest,
    ) -> Result<ReplayStepsResponse, Status> {
        match (message.ask, message.step, message.record) {
            (Some(ask), None, None) => self.authorize(open, ask).await,
            (None, Some(step), Some(record)) => self.record(open, step, record).await,
            _ => Err(invalid("ask", "mode DRIVE: is given alone, or step and record together")),
        }
    }

    async fn authorize(
        &self,
        open: &Open,
        mut ask: AuthorizeStepRequest,
    ) -> Result<ReplayStepsResponse, Status> {
        name_run("ask.run_id", &mut ask.run_id, &open.replay.driven_run_id)?;
        let operations = self.replays.runs.get().map_err(status)?;
        let context = inside(&self.context, &operations.authorize);
        let authorized = self.replays.kernel.authorize_step(&context, ask).await.map_err(status)?;
        Ok(ReplayStepsResponse {
            step_index: authorized.step_index,
            behaviour: open.behaviour(authorized.step_index).into(),
            authorized: Some(authorized),
            ..ReplayStepsResponse::default()
        })
    }

    async fn record(
        &self,
        open: &mut Open,
        step: ReplayedStep,
        mut record: RecordStepRequest,
    ) -> Result<ReplayStepsResponse, Status> {
        name_run("record.run_id", &mut record.run_id, &open.replay.driven_run_id)?;
        let skips = open.behaviour(step.step_index) == ReplayBehaviour::Skip;
        if skips && record.outcome() != StepOutcome::Skipped {
            return Err(invalid("record.outcome", "is SKIPPED: the plan leaves the step out"));
        }
        let operations = self.replays.runs.get().map_err(status)?;
        let context = inside(&self.context, &operations.record);
        let recorded = self.replays.kernel.record_step(&context, record).await.map_err(status)?;
        let answer = open.check(report(&step)?).await?;
        Ok(ReplayStepsResponse { recorded: Some(recorded), ..answer })
    }
}

impl Open {
    fn behaviour(&self, step_index: u32) -> ReplayBehaviour {
        let planned = self.plan.get(&step_index).map_or(0, |planned| planned.behaviour);
        ReplayBehaviour::try_from(planned).unwrap_or_default()
    }

    /// Has logs note a step and compare it.
    async fn check(&mut self, step: logs::ReplayedStep) -> Result<ReplayStepsResponse, Status> {
        let step_index = step.step_index;
        let replay_id = self.replay.replay_id.clone();
        // A stream that logs has ended says why when it is read.
        let _ = self.reports.send(logs::CheckReplayStepsRequest { replay_id, step: Some(step) }).await;
        let answer = self.answers.message().await?.ok_or_else(|| {
            status(Fault::new(&mesh::TARGET_UNAVAILABLE, "logs has left the replay; report the step again"))
        })?;
        let word = answer.verdict().as_str_name().trim_start_matches("REPLAY_VERDICT_");
        metrics::REPLAY_STEPS.increment(&[("verdict", word)]);
        let answer: ReplayStepsResponse = same(&answer)?;
        Ok(ReplayStepsResponse { behaviour: self.behaviour(step_index).into(), ..answer })
    }
}

/// A report as logs takes it. An outcome without a code has the one that its record has.
fn report(step: &ReplayedStep) -> Result<logs::ReplayedStep, Status> {
    let mut report: logs::ReplayedStep = same(step)?;
    if report.outcome_code.is_empty() {
        outcome_code(report.outcome()).clone_into(&mut report.outcome_code);
    }
    Ok(report)
}

/// What a report alone says that was done.
fn named(step: &ReplayedStep) -> AuthorizeStepRequest {
    AuthorizeStepRequest { kind: step.kind, name: step.name.clone(), ..Default::default() }
}

/// What was asked, without where and how often: that is the recorded step's.
fn in_place(ask: AuthorizeStepRequest) -> AuthorizeStepRequest {
    AuthorizeStepRequest { step_index: None, ask: 0, ..ask }
}
