//! Governs one recorded run: every assistant turn is an LLM step, every tool call a tool step, authorized before and
//! recorded after.

use contracts_common::common::v1::{
    Amounts, Directive, ErrorClass, OutcomeCategory, RunSource, StepKind, StepOutcome, Verdict,
};
use contracts_spine::v1::{
    AuthorizeStepRequest, AuthorizeStepResponse, CompleteRunRequest, Decision, RecordStepRequest,
    RunEnvironment, StartOutcome, StartRunRequest, TraceStart, run_service_client::RunServiceClient,
};
use runspine_types::new_id;
use tonic::{Status, service::interceptor::InterceptedService, transport::Channel};

use super::{
    arguments::{parameters_digest, payload_digest, prepare, without},
    client::Credential,
    outcome::{Denial, RunReport},
    pack::Pack,
    recording::{Message, Recording, ToolCall, tokens},
};

type Client = RunServiceClient<InterceptedService<Channel, Credential>>;

/// How runs are governed.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The project that they belong to.
    pub project: String,
    /// A reward of 0 makes a failed outcome.
    pub outcome_from_reward: bool,
    /// Time to live of their leases, in milliseconds.
    pub lease_ttl_ms: u64,
}

/// Governs a run and reports what happened to it.
pub async fn govern(
    client: Client,
    pack: &Pack,
    rules: &Rules,
    recording: &Recording,
) -> Result<RunReport, Status> {
    let mut agent = Agent::start(client, pack, rules, recording).await?;
    if agent.report.run_id.is_empty() || !agent.going {
        return Ok(agent.report);
    }
    let mut read = 0;
    for (index, message) in recording.messages.iter().enumerate() {
        agent.crashing = recording.crash_after_message == Some(index);
        if message.role == "assistant" {
            // An agent that was not allowed to think has no call to make.
            let thought = agent.turn(message, read).await?;
            for call in message.tool_calls.iter().flatten() {
                if !thought || !agent.going {
                    break;
                }
                agent.tool(call, answer_of(recording, index, &call.id)).await?;
            }
        }
        if agent.crashing {
            agent.report.crashed = true;
            return Ok(agent.report);
        }
        read += message.size();
        if !agent.going {
            break;
        }
    }
    agent.complete(recording, rules).await?;
    Ok(agent.report)
}

/// What the tool answered to a call, in the messages after it.
fn answer_of<'a>(recording: &'a Recording, after: usize, call_id: &str) -> Option<&'a str> {
    let later = recording.messages.iter().skip(after + 1);
    let answer = later.filter(|m| m.role == "tool").find(|m| m.tool_call_id.as_deref() == Some(call_id));
    answer.and_then(|m| m.content.as_deref())
}

struct Agent<'a> {
    client: Client,
    pack: &'a Pack,
    recording: &'a Recording,
    report: RunReport,
    trace: TraceStart,
    fence: u64,
    next: u32,
    going: bool,
    /// It dies while its tools work: their calls are asked for and never reported.
    crashing: bool,
}

impl<'a> Agent<'a> {
    async fn start(
        mut client: Client,
        pack: &'a Pack,
        rules: &Rules,
        recording: &'a Recording,
    ) -> Result<Self, Status> {
        let goal = recording.messages.iter().find(|m| m.role == "user").and_then(|m| m.content.clone());
        let request = StartRunRequest {
            request_id: new_id(),
            run_id: new_id(),
            project_id: rules.project.clone(),
            agent_id: recording.agent.clone(),
            origin_system_id: "runspine-replay".to_owned(),
            source: RunSource::Replay.into(),
            goal: goal.unwrap_or_else(|| recording.id.clone()).chars().take(8_000).collect(),
            lease_ttl_ms: rules.lease_ttl_ms,
            labels: [("recording".to_owned(), recording.id.clone())].into(),
            environment: Some(RunEnvironment {
                sdk_mode: "INLINE".to_owned(),
                sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
                environment: "SANDBOX".to_owned(),
            }),
            ..StartRunRequest::default()
        };
        let answer = client.start_run(request).await?.into_inner();
        let run = answer.run.clone().unwrap_or_default();
        let mut report =
            RunReport { recording: recording.id.clone(), run_id: run.run_id, ..RunReport::default() };
        let outcome = answer.outcome();
        if outcome != StartOutcome::Admitted {
            let decision = answer.decision.unwrap_or_default();
            report.start_refused = Some(first_code(&decision));
        }
        Ok(Self {
            client,
            pack,
            recording,
            report,
            trace: answer.trace.unwrap_or_default(),
            fence: answer.lease.map_or(0, |l| l.fence),
            next: 0,
            going: outcome == StartOutcome::Admitted,
            crashing: false,
        })
    }

    /// An assistant turn: what was read so far goes in, what it says comes out.
    ///
    /// False: the turn was not allowed.
    async fn turn(&mut self, message: &Message, read: usize) -> Result<bool, Status> {
        let model = self.recording.model.clone();
        let (tokens_input, tokens_output) = (tokens(read), tokens(message.size()));
        let cost = self.pack.cost(&model, tokens_input, tokens_output);
        let estimate = Amounts { cost_microusd: cost, tokens_input, tokens_output, duration_ms: 1_000 };
        let output = message.bytes();
        let input = payload_digest(
            &self.trace.digest_salt,
            format!("turn {} of {}", self.next, self.recording.id).as_bytes(),
        );
        let ask = AuthorizeStepRequest {
            kind: StepKind::LlmCall.into(),
            name: "chat".to_owned(),
            resource: model.clone(),
            model: model.clone(),
            arguments_digest: input.clone(),
            estimate: Some(estimate),
            ..self.ask()
        };
        let Some(allowed) = self.decide(ask).await? else { return Ok(false) };
        let record = RecordStepRequest {
            decision_id: allowed.0.decision_id.clone(),
            outcome: StepOutcome::Success.into(),
            input_digest: input,
            output_digest: payload_digest(&self.trace.digest_salt, &output),
            output_size: u64::try_from(output.len()).unwrap_or(u64::MAX),
            tokens_input,
            tokens_output,
            cost_microusd: Some(cost),
            duration_us: tokens_output.saturating_mul(15_000),
            model,
            obligations_applied: names(&allowed.0),
            ..self.record(allowed.1)
        };
        self.recorded(record).await?;
        Ok(true)
    }

    /// A tool call with what the tool answered. Without an answer nobody knows how it ended.
    async fn tool(&mut self, call: &ToolCall, answer: Option<&str>) -> Result<(), Status> {
        let select = self.pack.arguments.get(&call.function.name).cloned().unwrap_or_default().select;
        let prepared = prepare(&call.function.arguments, &select);
        let input = payload_digest(&self.trace.digest_salt, &prepared.canonical);
        let parameters = parameters_digest(&self.trace.parameter_key, &prepared.canonical);
        let ask = AuthorizeStepRequest {
            kind: StepKind::ToolCall.into(),
            name: call.function.name.clone(),
            resource: call.function.name.clone(),
            tool: call.function.name.clone(),
            external_ref: call.id.chars().take(128).collect(),
            arguments_digest: input.clone(),
            arguments_size: u64::try_from(prepared.canonical.len()).unwrap_or(u64::MAX),
            arguments: prepared.selected,
            parameters_digest: parameters.clone(),
            estimate: Some(Amounts { duration_ms: 500, ..Amounts::default() }),
            ..self.ask()
        };
        let Some((decision, index)) = self.decide(ask).await? else { return Ok(()) };
        if self.crashing {
            return Ok(());
        }
        let done = changed(&decision).map_or(input, |paths| {
            payload_digest(&self.trace.digest_salt, &without(&call.function.arguments, &paths))
        });
        let (outcome, category) = match answer {
            Some(text) if text.starts_with("Error") => (StepOutcome::Failure, OutcomeCategory::Tool),
            Some(_) => (StepOutcome::Success, OutcomeCategory::Execution),
            None => (StepOutcome::Ambiguous, OutcomeCategory::Tool),
        };
        let output = answer.unwrap_or_default().as_bytes();
        let record = RecordStepRequest {
            decision_id: decision.decision_id.clone(),
            outcome: outcome.into(),
            outcome_category: category.into(),
            input_digest: done,
            output_digest: payload_digest(&self.trace.digest_salt, output),
            parameters_digest: parameters,
            output_size: u64::try_from(output.len()).unwrap_or(u64::MAX),
            cost_microusd: Some(0),
            duration_us: 100_000,
            external_ref: call.id.chars().take(128).collect(),
            obligations_applied: names(&decision),
            ..self.record(index)
        };
        self.recorded(record).await
    }

    fn ask(&self) -> AuthorizeStepRequest {
        AuthorizeStepRequest {
            run_id: self.report.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            step_index: Some(self.next),
            ..AuthorizeStepRequest::default()
        }
    }

    fn record(&self, step_index: u32) -> RecordStepRequest {
        RecordStepRequest {
            run_id: self.report.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            step_index,
            ..RecordStepRequest::default()
        }
    }

    /// The decision and its index when the step may be done; else the agent is told and goes on, or ends.
    async fn decide(&mut self, ask: AuthorizeStepRequest) -> Result<Option<(Decision, u32)>, Status> {
        let name = ask.name.clone();
        let answer: AuthorizeStepResponse = self.client.authorize_step(ask).await?.into_inner();
        let decision = answer.decision.clone().unwrap_or_default();
        self.next = answer.step_index + 1;
        self.report.count(&decision);
        self.going = decision.directive() != Directive::Terminate;
        self.report.warnings += decision.warnings.len();
        if matches!(decision.effective_verdict(), Verdict::Allow | Verdict::Modify) {
            return Ok(Some((decision, answer.step_index)));
        }
        self.report.denials.push(Denial {
            step_index: answer.step_index,
            name,
            reason: first_code(&decision),
        });
        if self.going {
            let skipped = RecordStepRequest {
                decision_id: decision.decision_id,
                outcome: StepOutcome::Skipped.into(),
                outcome_code: "DENIED".to_owned(),
                outcome_category: OutcomeCategory::Policy.into(),
                ..self.record(answer.step_index)
            };
            self.recorded(skipped).await?;
        }
        Ok(None)
    }

    async fn recorded(&mut self, record: RecordStepRequest) -> Result<(), Status> {
        self.report.tokens_input += record.tokens_input;
        self.report.tokens_output += record.tokens_output;
        self.report.cost_microusd += record.cost_microusd.unwrap_or(0);
        let answer = self.client.record_step(record).await?.into_inner();
        self.report.unfunded_microusd += answer.unfunded_microusd;
        self.report.steps += 1;
        if answer.directive() == Directive::Terminate {
            self.going = false;
        }
        Ok(())
    }

    async fn complete(&mut self, recording: &Recording, rules: &Rules) -> Result<(), Status> {
        let wrong = rules.outcome_from_reward && recording.reward <= 0.0;
        let (outcome, code) = if wrong {
            (StepOutcome::Failure, "TASK_FAILED")
        } else if !self.going {
            (StepOutcome::Failure, "STOPPED")
        } else {
            (StepOutcome::Success, "")
        };
        let class =
            if outcome == StepOutcome::Failure { ErrorClass::Permanent } else { ErrorClass::Unspecified };
        let request = CompleteRunRequest {
            run_id: self.report.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            outcome: outcome.into(),
            error_code: code.to_owned(),
            error_class: class.into(),
            reward_permille: Some(if recording.reward > 0.0 { 1_000 } else { 0 }),
            ..CompleteRunRequest::default()
        };
        self.client.complete_run(request).await?;
        Ok(())
    }
}

fn first_code(decision: &Decision) -> String {
    decision.reasons.first().map(|r| r.code.clone()).unwrap_or_default()
}

fn names(decision: &Decision) -> Vec<String> {
    decision.obligations.iter().map(|o| o.name.clone()).collect()
}

/// Argument paths that an obligation takes away.
fn changed(decision: &Decision) -> Option<Vec<String>> {
    let taken = decision.obligations.iter().filter(|o| matches!(o.name.as_str(), "redact" | "drop"));
    let paths: Vec<String> = taken.flat_map(|o| o.args.iter().cloned()).collect();
    (!paths.is_empty()).then_some(paths)
}
