//! An agent that governs one run.

use contracts_common::common::v1::{StepKind, StepOutcome};
use contracts_spine::v1::{
    AuthorizeStepRequest, AuthorizeStepResponse, CompleteRunRequest, CompleteRunResponse, GetRunRequest,
    GetRunResponse, RecordStepRequest, RecordStepResponse, RunEnvironment, RunView, StartOutcome,
    StartRunRequest, StartRunResponse,
};
use runspine_types::{hash, new_id};
use tonic::Status;

use crate::client::Client;

/// A run and who works on it.
#[derive(Clone)]
pub struct Agent {
    /// Who works on it.
    pub client: Client,
    /// The run.
    pub run_id: String,
    /// The fence of its lease.
    pub fence: u64,
    /// What the start answered.
    pub started: StartRunResponse,
}

impl Agent {
    /// The request of an ordinary start, to be changed at will.
    #[must_use]
    pub fn request() -> StartRunRequest {
        StartRunRequest {
            request_id: new_id(),
            run_id: new_id(),
            project_id: "shop".to_owned(),
            agent_id: "support-agent".to_owned(),
            origin_system_id: "e2e".to_owned(),
            goal: "Answer a customer.".to_owned(),
            environment: Some(RunEnvironment {
                sdk_mode: "INLINE".to_owned(),
                sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
                environment: "SANDBOX".to_owned(),
            }),
            ..StartRunRequest::default()
        }
    }

    /// Starts an ordinary run.
    ///
    /// # Panics
    /// When it is not admitted.
    pub async fn start(client: &Client) -> Self {
        Self::start_with(client, Self::request()).await
    }

    /// Starts a run that must be admitted.
    ///
    /// # Panics
    /// When it is not.
    pub async fn start_with(client: &Client, request: StartRunRequest) -> Self {
        let started = client.runs().start_run(request).await.expect("the start is answered").into_inner();
        assert_eq!(started.outcome(), StartOutcome::Admitted, "{started:?}");
        let run_id = started.run.as_ref().expect("a run").run_id.clone();
        let fence = started.lease.as_ref().expect("a lease").fence;
        Self { client: client.clone(), run_id, fence, started }
    }

    /// The question whether the tool `name` may be called as step `index`.
    #[must_use]
    pub fn ask(&self, index: u32, name: &str) -> AuthorizeStepRequest {
        AuthorizeStepRequest {
            run_id: self.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            step_index: Some(index),
            ..step(name)
        }
    }

    /// The report that an allowed step was done.
    #[must_use]
    pub fn report(&self, answer: &AuthorizeStepResponse) -> RecordStepRequest {
        RecordStepRequest {
            run_id: self.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            step_index: answer.step_index,
            decision_id: answer.decision.as_ref().expect("a decision").decision_id.clone(),
            outcome: StepOutcome::Success.into(),
            input_digest: digest("input"),
            output_digest: digest("output"),
            cost_microusd: Some(0),
            duration_us: 1_000,
            ..RecordStepRequest::default()
        }
    }

    /// The request to end it.
    #[must_use]
    pub fn end(&self, outcome: StepOutcome) -> CompleteRunRequest {
        let failed = outcome == StepOutcome::Failure;
        CompleteRunRequest {
            run_id: self.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            outcome: outcome.into(),
            error_code: if failed { "TOOL_BROKE".to_owned() } else { String::new() },
            ..CompleteRunRequest::default()
        }
    }

    /// Puts a question.
    ///
    /// # Errors
    /// When nothing was decided.
    pub async fn authorize(&self, ask: AuthorizeStepRequest) -> Result<AuthorizeStepResponse, Status> {
        Ok(self.client.runs().authorize_step(ask).await?.into_inner())
    }

    /// Reports a step.
    ///
    /// # Errors
    /// When nothing was recorded.
    pub async fn record(&self, report: RecordStepRequest) -> Result<RecordStepResponse, Status> {
        Ok(self.client.runs().record_step(report).await?.into_inner())
    }

    /// Asks for a tool, calls it and reports it.
    ///
    /// # Errors
    /// When one of both was refused with a status.
    pub async fn take(&self, index: u32, name: &str) -> Result<RecordStepResponse, Status> {
        let answer = self.authorize(self.ask(index, name)).await?;
        self.record(self.report(&answer)).await
    }

    /// Ends the run.
    ///
    /// # Errors
    /// When it can't be ended.
    pub async fn complete(&self, outcome: StepOutcome) -> Result<CompleteRunResponse, Status> {
        Ok(self.client.runs().complete_run(self.end(outcome)).await?.into_inner())
    }

    /// The run with everything in it.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn view(&self) -> Result<GetRunResponse, Status> {
        let request = GetRunRequest { run_id: self.run_id.clone(), attempt: 0, view: RunView::Full.into() };
        Ok(self.client.runs().get_run(request).await?.into_inner())
    }
}

/// The question whether the tool `name` may be called; of which run is still to be said.
#[must_use]
pub fn step(name: &str) -> AuthorizeStepRequest {
    AuthorizeStepRequest {
        kind: StepKind::ToolCall.into(),
        name: name.to_owned(),
        resource: name.to_owned(),
        tool: name.to_owned(),
        // Done as it was asked for: `report` says the same.
        arguments_digest: digest("input"),
        ..AuthorizeStepRequest::default()
    }
}

fn digest<B: From<Vec<u8>>>(text: &str) -> B {
    hash(text.as_bytes()).as_bytes().to_vec().into()
}
