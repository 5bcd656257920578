//! An agent with a run of its own, and its book of what it was answered.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use contracts_common::common::v1::{Directive, RunSource, StepOutcome, Verdict};
use contracts_spine::v1::{
    AuthorizeStepResponse, CompleteRunRequest, RecordStepResponse, RunEnvironment, StartOutcome,
    StartRunRequest,
};
use runspine_types::new_id;
use tonic::{Code, Response, Status};

use crate::{
    measure::{Meter, Outcome},
    wire::{COST, Client, ask, record},
};

/// Tries of one call.
const TRIES: u32 = 10;
/// Pause before the second one; it grows by as much each time.
const PAUSE: Duration = Duration::from_millis(20);
/// Most steps that an agent has authorized and not recorded.
pub const IN_FLIGHT: u32 = 64;

/// What an agent was answered: the ledger has to say the same.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// The run.
    pub run_id: String,
    /// Decisions on steps.
    pub decisions: u64,
    /// Decisions among them that a decider had no part in, because it did not answer in time.
    pub degraded: u64,
    /// Calls that were put again because the mesh was not available at once.
    pub retries: u64,
    /// Steps recorded.
    pub steps: u64,
    /// What they cost in micro-USD.
    pub cost: i64,
}

/// An agent.
pub struct Agent {
    client: Client,
    fence: u64,
    next: u32,
    open: VecDeque<(u32, String)>,
    /// Its book.
    pub book: Book,
}

/// What an agent asks for when it starts.
pub fn start_request() -> StartRunRequest {
    StartRunRequest {
        request_id: new_id(),
        run_id: new_id(),
        project_id: "load".to_owned(),
        agent_id: "load-agent".to_owned(),
        origin_system_id: "runspine-load".to_owned(),
        source: RunSource::Sdk.into(),
        goal: "measure".to_owned(),
        lease_ttl_ms: 300_000,
        run_timeout_ms: 86_400_000,
        max_inflight: IN_FLIGHT,
        environment: Some(RunEnvironment {
            sdk_mode: "INLINE".to_owned(),
            sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
            environment: "SANDBOX".to_owned(),
        }),
        ..StartRunRequest::default()
    }
}

impl Agent {
    /// Starts a run.
    pub async fn start(client: Client) -> Outcome<Self> {
        let (request, mut retries) = (start_request(), 0);
        let call = || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.start_run(request).await }
        };
        let answer = again(&mut retries, call).await?;
        if answer.outcome() != StartOutcome::Admitted {
            return Err(format!("a run was not admitted: {:?}", answer.decision).into());
        }
        let run = answer.run.unwrap_or_default();
        let book = Book { run_id: run.run_id, retries, ..Book::default() };
        Ok(Self {
            client,
            fence: answer.lease.unwrap_or_default().fence,
            next: 0,
            open: VecDeque::new(),
            book,
        })
    }

    /// Number of its lease.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Its client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Asks for the next step.
    pub async fn authorize(&mut self, meter: &mut Meter) -> Outcome<()> {
        let request = ask(&self.book.run_id, self.fence, self.next);
        let begun = Instant::now();
        let client = &self.client;
        let call = || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.authorize_step(request).await }
        };
        let answer = again(&mut self.book.retries, call).await?;
        meter.record(begun.elapsed());
        let decision_id = self.book.decided(&answer)?;
        self.open.push_back((self.next, decision_id));
        self.next += 1;
        Ok(())
    }

    /// Whether a step waits to be recorded.
    pub fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Records a step that was allowed.
    pub async fn record(&mut self, meter: &mut Meter) -> Outcome<()> {
        let (index, decision_id) = self.open.pop_front().ok_or("no step is open")?;
        let request = record(&self.book.run_id, self.fence, index, &decision_id);
        let begun = Instant::now();
        let client = &self.client;
        let call = || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.record_step(request).await }
        };
        let answer = again(&mut self.book.retries, call).await?;
        meter.record(begun.elapsed());
        self.book.recorded(&answer)
    }

    /// Ends the run.
    pub async fn complete(&mut self) -> Outcome<()> {
        let request = CompleteRunRequest {
            run_id: self.book.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            outcome: StepOutcome::Success.into(),
            ..CompleteRunRequest::default()
        };
        let client = &self.client;
        let call = || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.complete_run(request).await }
        };
        again(&mut self.book.retries, call).await?;
        Ok(())
    }
}

/// Puts a call again under its own key while the mesh says that it is not available, as an agent does. The ledger then
/// has it once.
async fn again<T, F: Future<Output = Result<Response<T>, Status>>>(
    retries: &mut u64,
    mut call: impl FnMut() -> F,
) -> Result<T, Status> {
    for tries in 1.. {
        match call().await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) if tries < TRIES && is_passing(status.code()) => {
                *retries += 1;
                tokio::time::sleep(PAUSE * tries).await;
            }
            Err(status) => return Err(status),
        }
    }
    Err(Status::unavailable("tried for ever"))
}

/// Whether a repeat can help.
pub fn is_passing(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted)
}

impl Book {
    /// Notes a decision, which has to allow the step, and gives its id.
    pub fn decided(&mut self, answer: &AuthorizeStepResponse) -> Outcome<String> {
        let decision = answer.decision.clone().unwrap_or_default();
        if decision.effective_verdict() != Verdict::Allow {
            return Err(format!("a step was not allowed: {decision:?}").into());
        }
        self.decisions += 1;
        self.degraded += u64::from(decision.degraded);
        Ok(decision.decision_id)
    }

    /// Notes a record, which has to be in order.
    pub fn recorded(&mut self, answer: &RecordStepResponse) -> Outcome<()> {
        let in_order = answer.directive() == Directive::Continue && !answer.unauthorized && !answer.late;
        if !in_order {
            return Err(format!("a record was not in order: {answer:?}").into());
        }
        self.steps += 1;
        self.cost += COST;
        Ok(())
    }
}
