//! A mesh behind its door, with recorded runs.

use std::time::Duration;

use contracts_common::common::v1::{Actor, ActorType, CallContext, StepKind, StepOutcome};
use contracts_controls::v1 as controls;
use contracts_logs::v1 as logs;
use contracts_policies::v1 as policies;
use contracts_spine::v1::{self as pb, replay_coordinator_service_client::ReplayCoordinatorServiceClient};
use prost::Message;
use runspine_boot::{Deps, Running};
use runspine_rpc::{Context, Mesh, Stack, Transport};
use runspine_testkit::until_ok;
use runspine_types::new_id;
use tonic::{Request, Response, Status, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::contract::domains;

const PATIENCE: Duration = Duration::from_secs(60);
/// What a step costs, in micro-USD.
pub const COST: i64 = 700;

pub struct World {
    door: Channel,
    key: String,
    stack: Stack,
    _running: Running,
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(folder.path()).unwrap();
        let mut services = domains(&deps).await;
        let mesh = services.iter().fold(Mesh::new(), |mesh, d| mesh.local(&d.stack));
        let config = deps.settings.section("spine").unwrap();
        let spine = runspine_spine::service(config, &deps, &mesh).await.unwrap();
        let (key, stack) = (spine.development_key.unwrap().key, spine.service.stack.clone());
        services.push(spine.service);
        let running = runspine_boot::start(services, &deps).await.unwrap();
        let door = Channel::from_shared(format!("http://{}", running.address())).unwrap();
        let door = door.connect().await.unwrap();
        let world = Self { door, key, stack, _running: running, _folder: folder };
        world.budget().await;
        world
    }

    fn asked<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.key).parse().unwrap());
        request
    }

    /// Asks at the door, once.
    pub async fn once<Q, A>(&self, operation: &str, message: Q) -> Result<A, Status>
    where
        Q: Message + Default + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.door.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = format!("/runspine.{operation}").parse().unwrap();
        let codec = ProstCodec::<Q, A>::default();
        grpc.unary(self.asked(message), path, codec).await.map(Response::into_inner)
    }

    /// Asks at the door until it is answered: what its time was over for on a busy machine is asked again.
    pub async fn ask<Q, A>(&self, operation: &str, message: Q) -> A
    where
        Q: Message + Default + Clone + 'static,
        A: Message + Default + 'static,
    {
        until_ok(PATIENCE, || self.once(operation, message.clone())).await
    }

    /// Money that every run may spend.
    async fn budget(&self) {
        let spec = controls::LimitSpec {
            name: "run cost".to_owned(),
            category: controls::LimitCategory::Budget.into(),
            unit: controls::LimitUnit::CostMicrousd.into(),
            scope: controls::LimitScope::Run.into(),
            scope_id: "*".to_owned(),
            max_value: 1_000_000,
            period: controls::BudgetPeriod::Total.into(),
            ..Default::default()
        };
        let limit = controls::CreateLimitRequest { request_id: new_id(), spec: Some(spec) };
        let _: controls::CreateLimitResponse = self.ask("controls.v1.LimitService/CreateLimit", limit).await;
    }

    /// Brings a rule into force; gives its id.
    pub async fn rule(&self, slug: &str, policy: &str) -> String {
        let content = policies::RuleContent {
            slug: slug.to_owned(),
            cedar: format!("@id(\"{slug}\") @reason(\"TEST_RULE\") {policy}"),
            mode: policies::RuleMode::Block.into(),
            ..Default::default()
        };
        let create = policies::CreateRuleRequest { request_id: new_id(), content: Some(content) };
        let made: policies::CreateRuleResponse = self.ask("policies.v1.RuleService/CreateRule", create).await;
        let rule = made.rule.unwrap();
        let activate = policies::ActivateRuleRequest {
            request_id: new_id(),
            rule_id: rule.rule_id.clone(),
            version: rule.version,
            expected_version: rule.revision,
            reason: "the test needs it".to_owned(),
        };
        let _: policies::ActivateRuleResponse =
            self.ask("policies.v1.RuleService/ActivateRule", activate).await;
        rule.rule_id
    }

    /// A run that executes, and the fence of its lease.
    pub async fn run(&self) -> (String, u64) {
        let start = pb::StartRunRequest {
            request_id: new_id(),
            run_id: new_id(),
            project_id: "shop".to_owned(),
            agent_id: "agent".to_owned(),
            origin_system_id: "test".to_owned(),
            goal: "Refund an order.".to_owned(),
            run_timeout_ms: 3_600_000,
            lease_ttl_ms: 300_000,
            declared_tools: vec!["search".to_owned()],
            ..Default::default()
        };
        let started: pb::StartRunResponse = self.ask("spine.v1.RunService/StartRun", start).await;
        (started.run.unwrap().run_id, started.lease.expect("a lease").fence)
    }

    /// A sealed run: one step for each output.
    pub async fn recorded(&self, outputs: &[u8]) -> String {
        let (run_id, fence) = self.run().await;
        for (index, output) in (0..).zip(outputs) {
            let ask = pb::AuthorizeStepRequest { run_id: run_id.clone(), fence, ..ask_of(index, "search") };
            let answer: pb::AuthorizeStepResponse = self.ask("spine.v1.RunService/AuthorizeStep", ask).await;
            let decision_id = answer.decision.unwrap().decision_id;
            let record = record_of(index, *output, decision_id);
            let record = pb::RecordStepRequest { run_id: run_id.clone(), fence, ..record };
            let _: pb::RecordStepResponse = self.ask("spine.v1.RunService/RecordStep", record).await;
        }
        let complete = pb::CompleteRunRequest { run_id: run_id.clone(), ..ended(fence) };
        let _: pb::CompleteRunResponse = self.ask("spine.v1.RunService/CompleteRun", complete).await;
        until_ok(PATIENCE, || async {
            let run = self.get_run(&run_id).await;
            if run.completed_at.is_some() { Ok(()) } else { Err(run.phase()) }
        })
        .await;
        run_id
    }

    pub async fn get_run(&self, run_id: &str) -> pb::Run {
        let get = pb::GetRunRequest { run_id: run_id.to_owned(), ..Default::default() };
        let found: pb::GetRunResponse = self.ask("spine.v1.RunService/GetRun", get).await;
        found.run.unwrap()
    }

    pub async fn start(&self, request: pb::StartReplayRequest) -> pb::StartReplayResponse {
        self.ask("spine.v1.ReplayCoordinatorService/StartReplay", request).await
    }

    /// Opens a replay; gives its id.
    pub async fn begun(&self, request: pb::StartReplayRequest) -> String {
        self.start(request).await.replay.unwrap().replay_id
    }

    /// Sends messages on one stream, once.
    pub async fn try_steps(
        &self,
        messages: Vec<pb::ReplayStepsRequest>,
    ) -> Result<Vec<pb::ReplayStepsResponse>, Status> {
        let mut client = ReplayCoordinatorServiceClient::new(self.door.clone());
        let mut answers =
            client.replay_steps(self.asked(futures::stream::iter(messages))).await?.into_inner();
        let mut all = Vec::new();
        while let Some(answer) = answers.message().await? {
            all.push(answer);
        }
        Ok(all)
    }

    /// The same until they are answered.
    pub async fn steps(&self, messages: Vec<pb::ReplayStepsRequest>) -> Vec<pb::ReplayStepsResponse> {
        until_ok(PATIENCE, || self.try_steps(messages.clone())).await
    }

    pub async fn finish(
        &self,
        replay_id: &str,
        run: Option<pb::CompleteRunRequest>,
    ) -> pb::FinishReplayResponse {
        let finish = pb::FinishReplayRequest { request_id: new_id(), replay_id: replay_id.to_owned(), run };
        self.ask("spine.v1.ReplayCoordinatorService/FinishReplay", finish).await
    }

    pub async fn get(&self, replay_id: &str) -> pb::GetReplayResponse {
        let get = pb::GetReplayRequest { replay_id: replay_id.to_owned(), checks: 50, plan: true };
        self.ask("spine.v1.ReplayCoordinatorService/GetReplay", get).await
    }

    /// The records of a run as they are hashed, with their links.
    pub async fn records(&self, run_id: &str) -> Vec<(bytes::Bytes, bytes::Bytes)> {
        let list = logs::ListRecordsRequest {
            run_id: run_id.to_owned(),
            attempt: 1,
            page_size: 500,
            ..Default::default()
        };
        let found: logs::ListRecordsResponse = self.ask("logs.v1.TraceService/ListRecords", list).await;
        found.records.into_iter().map(|r| (r.record_bytes, r.link)).collect()
    }

    /// The ledger's entries of a run.
    pub async fn ledger(&self, run_id: &str) -> Vec<logs::LedgerEntryView> {
        let filter = logs::LedgerFilter { run_id: run_id.to_owned(), ..Default::default() };
        let list = logs::ListEntriesRequest { filter: Some(filter), page_size: 500, ..Default::default() };
        let found: logs::ListEntriesResponse = self.ask("logs.v1.LedgerService/ListEntries", list).await;
        found.entries
    }

    /// What a run used in its envelopes, by limit.
    pub async fn used(&self, run_id: &str) -> Vec<(String, i64)> {
        let get = controls::GetRunBudgetRequest { run_id: run_id.to_owned(), attempt: 1 };
        let found: controls::GetRunBudgetResponse =
            self.ask("controls.v1.BudgetService/GetRunBudget", get).await;
        found.allocations.into_iter().map(|a| (a.limit_id, a.used)).collect()
    }

    /// Starts a replay as somebody with these roles, past the door.
    pub async fn start_as(
        &self,
        roles: &[&str],
        request: pb::StartReplayRequest,
    ) -> Result<pb::StartReplayResponse, Status> {
        let operation = "runspine.spine.v1.ReplayCoordinatorService/StartReplay";
        let call = CallContext {
            tenant_id: new_id(),
            actor: Some(Actor { r#type: ActorType::Human.into(), id: "ada".to_owned() }),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            correlation_id: new_id(),
            ..CallContext::default()
        };
        let context = Context::serving(self.stack.registry().operation(operation).unwrap(), call, None);
        let mut client = ReplayCoordinatorServiceClient::new(Transport::local(&self.stack));
        client.start_replay(context.request(request)).await.map(Response::into_inner)
    }
}

pub fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    runspine_rpc::details(&answer.unwrap_err()).reason
}

pub fn order(run_id: &str, level: pb::ReplayLevel) -> pb::StartReplayRequest {
    pb::StartReplayRequest {
        request_id: new_id(),
        run_id: run_id.to_owned(),
        level: level.into(),
        ..Default::default()
    }
}

pub fn ask_of(index: u32, tool: &str) -> pb::AuthorizeStepRequest {
    pb::AuthorizeStepRequest {
        step_index: Some(index),
        kind: StepKind::ToolCall.into(),
        name: tool.to_owned(),
        tool: tool.to_owned(),
        arguments_digest: vec![5; 32].into(),
        parameters_digest: vec![9; 32].into(),
        ..Default::default()
    }
}

pub fn record_of(index: u32, output: u8, decision_id: String) -> pb::RecordStepRequest {
    pb::RecordStepRequest {
        step_index: index,
        decision_id,
        outcome: StepOutcome::Success.into(),
        input_digest: vec![1; 32].into(),
        output_digest: vec![output; 32].into(),
        parameters_digest: vec![9; 32].into(),
        cost_microusd: Some(COST),
        ..Default::default()
    }
}

/// A step as it was done again.
pub fn step_of(index: u32, tool: &str, output: u8) -> pb::ReplayedStep {
    pb::ReplayedStep {
        step_index: index,
        kind: StepKind::ToolCall.into(),
        name: tool.to_owned(),
        input_digest: vec![1; 32].into(),
        parameters_digest: vec![9; 32].into(),
        outcome: StepOutcome::Success.into(),
        output_digest: vec![output; 32].into(),
        ..Default::default()
    }
}

/// A report of it in mode OBSERVE.
pub fn report(replay_id: &str, step: pb::ReplayedStep) -> pb::ReplayStepsRequest {
    pb::ReplayStepsRequest { replay_id: replay_id.to_owned(), step: Some(step), ..Default::default() }
}

pub fn ended(fence: u64) -> pb::CompleteRunRequest {
    pb::CompleteRunRequest { fence, outcome: StepOutcome::Success.into(), ..Default::default() }
}
