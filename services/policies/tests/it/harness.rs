//! The service over a store of its own, called as the spine calls it.

use std::sync::Arc;

use contracts_common::common::v1::{Actor, CallContext, RunStatus, StepKind, StepOutcome, TerminationReason};
use contracts_policies::v1::{
    self as pb, analysis_service_client::AnalysisServiceClient,
    approval_service_client::ApprovalServiceClient, decision_service_client::DecisionServiceClient,
    event_service_client::EventServiceClient, health_service_client::HealthServiceClient,
    lesson_service_client::LessonServiceClient, proposal_service_client::ProposalServiceClient,
    rule_service_client::RuleServiceClient, sandbox_service_client::SandboxServiceClient,
    settings_service_client::SettingsServiceClient, snapshot_service_client::SnapshotServiceClient,
    violation_service_client::ViolationServiceClient,
};
use runspine_boot::{CancellationToken, Deps, Service};
use runspine_db::Db;
use runspine_policies::{Config, MIGRATIONS, Parts, parts};
use runspine_policies_domain::words::Profile;
use runspine_rpc::{Context, Registry, Transport};
use runspine_testkit::{TestStore, run, tenant, test_id};
use runspine_types::{FixedClock, Micros, PLATFORM_TENANT};
use tonic::{Code, Request, Status};

/// 2026-01-02T03:04:05Z.
pub const START: Micros = Micros(1_767_323_045_000_000);
/// Reason of acts.
pub const WHY: &str = "because the test wants it";

/// Calls an RPC: `call!(house, rules.create_rule, "RuleService/CreateRule", request)`.
#[macro_export]
macro_rules! call {
    ($house:expr, $client:ident.$method:ident, $name:expr, $message:expr) => {
        $crate::call!($house, 1, $client.$method, $name, $message)
    };
    ($house:expr, $tenant:expr, $client:ident.$method:ident, $name:expr, $message:expr) => {{
        let message = $message;
        // A busy machine may not keep a deadline; every operation can be repeated.
        let mut tries = 0;
        loop {
            tries += 1;
            let request = $house.ask($tenant, $name, message.clone());
            match $house.$client.clone().$method(request).await.map(tonic::Response::into_inner) {
                Err(late) if late.code() == tonic::Code::DeadlineExceeded && tries < 20 => {}
                done => break done,
            }
        }
    }};
}

/// A worker that runs until this is dropped.
pub struct Working(CancellationToken);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub struct House {
    pub db: Db,
    pub rules: RuleServiceClient<Transport>,
    pub snapshots: SnapshotServiceClient<Transport>,
    pub approvals: ApprovalServiceClient<Transport>,
    pub decisions: DecisionServiceClient<Transport>,
    pub settings: SettingsServiceClient<Transport>,
    pub analysis: AnalysisServiceClient<Transport>,
    pub sandbox: SandboxServiceClient<Transport>,
    pub violations: ViolationServiceClient<Transport>,
    pub events: EventServiceClient<Transport>,
    pub health: HealthServiceClient<Transport>,
    pub lessons: LessonServiceClient<Transport>,
    pub proposals: ProposalServiceClient<Transport>,
    pub clock: Arc<FixedClock>,
    /// The domain itself: its workers are started by the tests that want them.
    pub parts: Parts,
    registry: Registry,
    engine: Arc<TestStore>,
    _dir: tempfile::TempDir,
}

impl House {
    pub async fn over(store: TestStore) -> Self {
        Self::on(Arc::new(store), Arc::new(FixedClock::at(START))).await
    }

    async fn on(engine: Arc<TestStore>, clock: Arc<FixedClock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(dir.path()).unwrap().with_clock(clock.clone());
        let db = engine.open("policies", MIGRATIONS).await;
        // A debug build on a busy machine is slower than the budget of a release build.
        let config = Config { evaluation_budget_ms: 10_000, ..Config::default() };
        let parts = parts(db.clone(), clock.clone(), Profile::Standard, &config);
        let service =
            Service::new("policies", contracts_policies::DESCRIPTORS, &parts.routes(), &deps).unwrap();
        let way = Transport::local(&service.stack);
        Self {
            db,
            rules: RuleServiceClient::new(way.clone()),
            snapshots: SnapshotServiceClient::new(way.clone()),
            approvals: ApprovalServiceClient::new(way.clone()),
            decisions: DecisionServiceClient::new(way.clone()),
            settings: SettingsServiceClient::new(way.clone()),
            analysis: AnalysisServiceClient::new(way.clone()),
            sandbox: SandboxServiceClient::new(way.clone()),
            violations: ViolationServiceClient::new(way.clone()),
            health: HealthServiceClient::new(way.clone()),
            lessons: LessonServiceClient::new(way.clone()),
            proposals: ProposalServiceClient::new(way.clone()),
            events: EventServiceClient::new(way),
            clock,
            parts,
            registry: Registry::read(&[contracts_policies::DESCRIPTORS]).unwrap(),
            engine,
            _dir: dir,
        }
    }

    /// Another process on the same store, with nothing in memory.
    pub async fn replica(&self) -> Self {
        Self::on(self.engine.clone(), self.clock.clone()).await
    }

    /// Starts the worker of back-tests; it ends with what is returned.
    pub fn work_on_backtests(&self) -> Working {
        let stop = CancellationToken::new();
        tokio::spawn(self.parts.backtests(stop.clone()));
        Working(stop)
    }

    /// Starts the worker of shadows; it ends with what is returned.
    pub fn look_for_shadows(&self) -> Working {
        let stop = CancellationToken::new();
        tokio::spawn(self.parts.shadows(stop.clone()));
        Working(stop)
    }

    /// A request of tenant `number`; 0 is the platform, whose caller is an operator.
    pub fn ask<M>(&self, number: u64, name: &str, message: M) -> Request<M> {
        let operation = self.registry.operation(&format!("runspine.policies.v1.{name}"));
        let platform = number == 0;
        let call = CallContext {
            tenant_id: if platform { PLATFORM_TENANT.to_owned() } else { tenant(number) },
            actor: Some(Actor { r#type: 1, id: "ann".to_owned() }),
            roles: if platform { vec!["PLATFORM_OPERATOR".to_owned()] } else { vec![] },
            correlation_id: "corr".to_owned(),
            config_digest: vec![7; 32].into(),
            profile: 2,
            ..CallContext::default()
        };
        Context::serving(operation.expect("a known operation"), call, None).request(message)
    }

    /// The same request from somebody else: kind of actor, its id, the owner of its credential, its role.
    pub fn ask_as<M>(&self, person: (i32, &str, &str, &str), name: &str, message: M) -> Request<M> {
        self.ask_under(2, person, name, message)
    }

    /// The same in the profile STRICT.
    pub fn ask_strict<M>(&self, person: (i32, &str, &str, &str), name: &str, message: M) -> Request<M> {
        self.ask_under(1, person, name, message)
    }

    fn ask_under<M>(
        &self,
        profile: i32,
        person: (i32, &str, &str, &str),
        name: &str,
        message: M,
    ) -> Request<M> {
        let operation = self.registry.operation(&format!("runspine.policies.v1.{name}"));
        let (kind, id, owner, role) = person;
        let call = CallContext {
            tenant_id: tenant(1),
            actor: Some(Actor { r#type: kind, id: id.to_owned() }),
            owner_id: owner.to_owned(),
            roles: vec![role.to_owned()],
            profile,
            ..CallContext::default()
        };
        Context::serving(operation.expect("a known operation"), call, None).request(message)
    }

    pub async fn create(&self, n: u64, content: pb::RuleContent) -> Result<pb::CreateRuleResponse, Status> {
        let message = pb::CreateRuleRequest { request_id: test_id(9, n), content: Some(content) };
        call!(self, rules.create_rule, "RuleService/CreateRule", message)
    }

    pub async fn activate(&self, n: u64, rule: &pb::Rule) -> Result<pb::ActivateRuleResponse, Status> {
        let message = pb::ActivateRuleRequest {
            request_id: test_id(10, n),
            rule_id: rule.rule_id.clone(),
            version: rule.version,
            expected_version: rule.revision,
            reason: WHY.to_owned(),
        };
        call!(self, rules.activate_rule, "RuleService/ActivateRule", message)
    }

    /// A rule in force, in mode BLOCK.
    pub async fn rule(
        &self,
        n: u64,
        slug: &str,
        annotations: &str,
        policy: &str,
    ) -> pb::ActivateRuleResponse {
        let made = self.create(n, content(slug, annotations, policy)).await.unwrap();
        assert!(made.findings.is_empty(), "{:?}", made.findings);
        self.activate(n, &made.rule.unwrap()).await.unwrap()
    }

    pub async fn start(&self, number: u64) -> pb::EvaluateRunResponse {
        self.evaluate_run(ask_run(number)).await.unwrap()
    }

    /// A question whose time was over on a busy machine is put again under its key: it has one answer.
    pub async fn evaluate_run(&self, r: pb::EvaluateRunRequest) -> Result<pb::EvaluateRunResponse, Status> {
        loop {
            match call!(self, decisions.evaluate_run, "DecisionService/EvaluateRun", r.clone()) {
                Err(late) if late.code() == Code::DeadlineExceeded => {}
                done => return done,
            }
        }
    }

    /// As [`House::evaluate_run`], about a step.
    pub async fn step(&self, r: pb::EvaluateStepRequest) -> Result<pb::EvaluateStepResponse, Status> {
        loop {
            match call!(self, decisions.evaluate_step, "DecisionService/EvaluateStep", r.clone()) {
                Err(late) if late.code() == Code::DeadlineExceeded => {}
                done => return done,
            }
        }
    }

    pub async fn end(&self, r: pb::RecordEvaluationRequest) -> Result<pb::Evaluation, Status> {
        loop {
            let r = r.clone();
            match call!(self, decisions.record_evaluation, "DecisionService/RecordEvaluation", r) {
                Err(late) if late.code() == Code::DeadlineExceeded => {}
                done => return done.map(|r| r.evaluation.unwrap()),
            }
        }
    }

    pub async fn told(&self) -> Vec<contracts_common::common::v1::EventEnvelope> {
        let message = pb::PullEventsRequest { consumer: "test".to_owned(), limit: 500 };
        call!(self, events.pull_events, "EventService/PullEvents", message).unwrap().events
    }

    pub async fn told_names(&self) -> Vec<String> {
        self.told().await.into_iter().map(|e| e.r#type.replace("policies.", "")).collect()
    }
}

pub fn content(slug: &str, annotations: &str, policy: &str) -> pb::RuleContent {
    pb::RuleContent {
        slug: slug.to_owned(),
        cedar: format!("@id(\"{slug}\") @reason(\"TEST_RULE\") {annotations}\n{policy}"),
        mode: pb::RuleMode::Block.into(),
        ..Default::default()
    }
}

pub fn ask_run(number: u64) -> pb::EvaluateRunRequest {
    pb::EvaluateRunRequest {
        run_id: run(number),
        attempt: 1,
        agent: Some(pb::AgentFacts { id: "agent-1".to_owned(), ..Default::default() }),
        project: Some(pb::NamedFacts { id: "project-1".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

pub fn ask_step(number: u64, step_index: u32, tool: &str) -> pb::EvaluateStepRequest {
    pb::EvaluateStepRequest {
        run_id: run(number),
        attempt: 1,
        step_index,
        kind: StepKind::ToolCall.into(),
        resource: Some(pb::Resource { id: tool.to_owned(), ..Default::default() }),
        name: tool.to_owned(),
        arguments_digest: vec![5; 32].into(),
        ..Default::default()
    }
}

pub fn fact(seq: u64, step_index: u32, tool: &str) -> pb::StepFact {
    pb::StepFact {
        seq,
        step_index,
        kind: StepKind::ToolCall.into(),
        resource: Some(pb::Resource { id: tool.to_owned(), ..Default::default() }),
        outcome: StepOutcome::Success.into(),
        input_digest: vec![5; 32].into(),
        ..Default::default()
    }
}

pub fn ask_end(number: u64, revision: u32) -> pb::RecordEvaluationRequest {
    pb::RecordEvaluationRequest {
        run_id: run(number),
        attempt: 1,
        revision,
        run_outcome: RunStatus::Succeeded.into(),
        termination_reason: TerminationReason::Completed.into(),
        ..Default::default()
    }
}

/// The reason that a status was given for.
pub fn reason(status: &Status) -> String {
    runspine_rpc::details(status).reason
}
