//! Agents that govern one run by a script and write down every answer.

use std::time::Duration;

use contracts_common::common::v1::{Amounts, Directive, ErrorClass, StepKind, StepOutcome, Verdict};
use contracts_spine::v1::{
    Argument, AuthorizeStepRequest, AuthorizeStepResponse, CompleteRunRequest, RecordStepRequest,
    StartOutcome, StartRunRequest, argument,
};
use runspine_e2e::{Client, step};
use runspine_types::hash;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Request, Response, Status};

use crate::{
    Dice, LEASE_MS,
    diary::{Diary, Kept, Kind},
};

/// How long one call may take, and how long an agent looks for a mesh that is gone.
const CALL: Duration = Duration::from_secs(12);
const SEARCH: Duration = Duration::from_secs(25);

/// What an agent does when the mesh is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    /// It dies with it.
    Dies,
    /// It repeats the call that was not answered until somebody answers, and goes on.
    Returns,
}

/// What a run is to do.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its steps.
    pub steps: Vec<Act>,
    /// How it says that it ended. `None`: its agent vanishes.
    pub end: Option<StepOutcome>,
    /// What its agent does when the mesh is gone.
    pub temper: Temper,
    /// Pause between two calls.
    pub pause: Duration,
}

/// One step of a script, by what the sample's pack makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A model call that costs money: its hold is settled with the report.
    Think,
    /// A tool call that is allowed.
    Look,
    /// A tool call that is denied: the run goes on.
    Peek,
    /// A tool call that ends the run.
    Export,
    /// Allowed, done and never reported.
    Forget,
}

impl Script {
    /// A script that the dice write.
    pub fn thrown(dice: &mut Dice) -> Self {
        let steps = (0..dice.within(1..7)).map(|_| Act::thrown(dice)).collect();
        let end = match dice.below(10) {
            0 => None,
            1 | 2 => Some(StepOutcome::Failure),
            _ => Some(StepOutcome::Success),
        };
        let temper = if dice.chance(400) { Temper::Dies } else { Temper::Returns };
        Self { steps, end, temper, pause: dice.micros(0..15_000) }
    }
}

impl Act {
    fn thrown(dice: &mut Dice) -> Self {
        match dice.below(40) {
            0..18 => Self::Think,
            18..34 => Self::Look,
            34..37 => Self::Peek,
            37..39 => Self::Forget,
            _ => Self::Export,
        }
    }

    fn ask(self) -> AuthorizeStepRequest {
        match self {
            Self::Think => AuthorizeStepRequest {
                kind: StepKind::LlmCall.into(),
                resource: "atlas-small".to_owned(),
                model: "atlas-small".to_owned(),
                tool: String::new(),
                estimate: Some(Amounts {
                    cost_microusd: 900,
                    tokens_input: 100,
                    tokens_output: 50,
                    duration_ms: 100,
                }),
                ..step("chat")
            },
            Self::Look | Self::Forget => step("find_order"),
            Self::Peek => {
                let value = Some(argument::Value::Text("deploy/secrets/shop.env".to_owned()));
                let arguments = vec![Argument { key: "path".to_owned(), value }];
                AuthorizeStepRequest { arguments, ..step("read_file") }
            }
            Self::Export => step("export_customers"),
        }
    }

    fn cost(self) -> i64 {
        if self == Self::Think { 700 } else { 0 }
    }
}

/// The request that starts a run of a crash test.
#[must_use]
pub fn start_request() -> StartRunRequest {
    StartRunRequest {
        lease_ttl_ms: LEASE_MS,
        run_timeout_ms: 120_000,
        origin_system_id: "faults".to_owned(),
        ..runspine_e2e::Agent::request()
    }
}

/// Governs one run by `script` and gives its diary. Ends early when the mesh is gone or the run is over.
pub async fn play(client: &Client, script: &Script) -> Diary {
    let request = start_request();
    let diary = Diary { run_id: request.run_id.clone(), ..Diary::default() };
    let mut player = Player { client, script, diary, fence: 0 };
    if let Err(status) = player.all(request).await {
        player.diary.left = format!("{:?}: {}", status.code(), status.message());
    }
    player.diary
}

struct Player<'a> {
    client: &'a Client,
    script: &'a Script,
    diary: Diary,
    fence: u64,
}

impl Player<'_> {
    async fn all(&mut self, request: StartRunRequest) -> Result<(), Status> {
        let started = self.call(request, |c, r| async move { c.runs().start_run(r).await }).await?;
        let admitted = started.outcome() == StartOutcome::Admitted;
        self.fence = started.lease.as_ref().map_or(0, |l| l.fence);
        self.diary.started = Some(started);
        if !admitted {
            return Err(Status::failed_precondition("not admitted"));
        }
        for (index, act) in self.script.steps.iter().enumerate() {
            sleep(self.script.pause).await;
            self.step(u32::try_from(index).unwrap_or(0), *act).await?;
            if self.diary.stopped {
                break;
            }
        }
        sleep(self.script.pause).await;
        self.end().await
    }

    async fn step(&mut self, index: u32, act: Act) -> Result<(), Status> {
        let ask = AuthorizeStepRequest {
            run_id: self.diary.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            step_index: Some(index),
            ..act.ask()
        };
        // An export ends the run even when its answer gets lost.
        self.diary.stopped |= act == Act::Export;
        let repeats = self.diary.repeated;
        let answer = self.call(ask.clone(), |c, r| async move { c.runs().authorize_step(r).await }).await?;
        if self.diary.repeated > repeats {
            self.same_again(ask, &answer).await?;
        }
        let decision = answer.decision.clone().unwrap_or_default();
        self.keep(Kind::Decision(decision.decision_id.clone()), index, answer.receipt);
        self.diary.stopped |= decision.directive() == Directive::Terminate;
        if act == Act::Forget || self.diary.stopped {
            return Ok(());
        }
        let allowed = matches!(decision.effective_verdict(), Verdict::Allow | Verdict::Modify);
        // A decider that is down may refuse more than it should, and never less.
        let as_expected = allowed == (act != Act::Peek) || (decision.degraded && !allowed);
        assert!(as_expected, "{act:?}: {decision:?}");
        let report = self.report(index, act, &decision.decision_id, allowed);
        let stored = self.call(report, |c, r| async move { c.runs().record_step(r).await }).await?;
        self.diary.stopped |= stored.directive() == Directive::Terminate;
        self.keep(Kind::Step(decision.decision_id), index, stored.receipt);
        Ok(())
    }

    /// A question whose first answer may have been lost: put once more, it gets the same answer to the byte.
    async fn same_again(
        &mut self,
        ask: AuthorizeStepRequest,
        first: &AuthorizeStepResponse,
    ) -> Result<(), Status> {
        let again = self.call(ask, |c, r| async move { c.runs().authorize_step(r).await }).await?;
        assert_eq!(&again, first, "a repeated question got another answer");
        Ok(())
    }

    fn report(&self, index: u32, act: Act, decision_id: &str, allowed: bool) -> RecordStepRequest {
        let outcome = if allowed { StepOutcome::Success } else { StepOutcome::Skipped };
        RecordStepRequest {
            run_id: self.diary.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            step_index: index,
            decision_id: decision_id.to_owned(),
            outcome: outcome.into(),
            input_digest: digest("input"),
            output_digest: digest("output"),
            tokens_input: if act == Act::Think { 80 } else { 0 },
            tokens_output: if act == Act::Think { 40 } else { 0 },
            cost_microusd: Some(act.cost()),
            duration_us: 1_000,
            ..RecordStepRequest::default()
        }
    }

    fn keep(&mut self, kind: Kind, step_index: u32, receipt: Option<contracts_spine::v1::Receipt>) {
        let receipt = receipt.expect("an answer has a receipt");
        self.diary.kept.push(Kept { kind, step_index, receipt });
    }

    async fn end(&mut self) -> Result<(), Status> {
        let Some(outcome) = self.script.end else { return Err(Status::cancelled("the agent vanishes")) };
        let failed = outcome == StepOutcome::Failure;
        let request = CompleteRunRequest {
            run_id: self.diary.run_id.clone(),
            attempt: 1,
            fence: self.fence,
            outcome: outcome.into(),
            error_code: if failed { "TOOL_BROKE".to_owned() } else { String::new() },
            error_class: if failed { ErrorClass::Permanent } else { ErrorClass::Unspecified }.into(),
            ..CompleteRunRequest::default()
        };
        self.diary.wanted = Some(outcome);
        let ended = self.call(request, |c, r| async move { c.runs().complete_run(r).await }).await?;
        self.diary.ended = Some(ended);
        Ok(())
    }

    /// One call; an agent that returns repeats it for as long as nobody answers.
    async fn call<Q, A, F>(&mut self, message: Q, send: impl Fn(Client, Request<Q>) -> F) -> Result<A, Status>
    where
        Q: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let until = Instant::now() + SEARCH;
        loop {
            let request = Request::new(message.clone());
            let answer = match timeout(CALL, send(self.client.clone(), request)).await {
                Ok(answer) => answer.map(Response::into_inner),
                Err(_) => Err(Status::deadline_exceeded("no answer")),
            };
            match answer {
                Err(status)
                    if self.script.temper == Temper::Returns
                        && is_gone(&status)
                        && Instant::now() < until => {}
                other => return other,
            }
            self.diary.repeated += 1;
            sleep(Duration::from_millis(30)).await;
        }
    }
}

/// Whether a call may have been cut off, or nobody could take it: it says nothing about the run.
#[must_use]
pub fn is_gone(status: &Status) -> bool {
    let told = runspine_rpc::details(status).reason;
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => true,
        Code::Unknown | Code::Internal => told.is_empty(),
        _ => false,
    }
}

fn digest<B: From<Vec<u8>>>(text: &str) -> B {
    hash(text.as_bytes()).as_bytes().to_vec().into()
}
