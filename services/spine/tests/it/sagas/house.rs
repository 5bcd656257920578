//! The real domains, a spine beside them that nothing happens to, and kernels whose every call goes through a tap.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{Actor, ActorType, CallContext};
use contracts_controls::v1::{self as controls, WatchEpochResponse, WatchKind};
use contracts_logs::v1::{AuditContract, ContractKey, GetAuditContractRequest};
use contracts_policies::v1 as policies;
use contracts_spine::v1 as pb;
use prost::Message;
use runspine_boot::{Deps, Service};
use runspine_rpc::{Context, Mesh, Operation, Stack, Transport};
use runspine_spine::{
    Spine,
    bridges::{Bridges, Targets},
    config::{KernelConfig, ReconcilerConfig},
    kernel::{FreezeView, Kernel},
    worker::{
        reactor,
        reconciler::{self, Reconciler},
    },
};
use runspine_testkit::until_ok;
use runspine_types::{Clock, PLATFORM_TENANT, SystemClock, new_id};
use tokio::time::Instant;
use tonic::{Status, client::Grpc};
use tonic_prost::ProstCodec;

use super::tap::{Line, Tap, routes};
use crate::contract::domains;

/// How long a drive may take that nothing happens to.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one may take that something happens to.
const SHORT: Duration = Duration::from_millis(1_500);

pub struct House {
    pub spine: Spine,
    pub tap: Arc<Tap>,
    domains: Vec<Service>,
    clock: Arc<dyn Clock>,
    tapped: Targets,
    worker: Arc<Operation>,
    pub tenant: String,
    _folder: tempfile::TempDir,
}

impl House {
    pub async fn open() -> Self {
        Self::with_clock(Arc::new(SystemClock)).await
    }

    pub async fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(folder.path()).unwrap().with_clock(Arc::clone(&clock));
        let domains = domains(&deps).await;
        let mesh = domains.iter().fold(Mesh::new(), |mesh, d| mesh.local(&d.stack));
        let config = runspine_spine::Config { kernel: config(), ..deps.settings.section("spine").unwrap() };
        let spine = runspine_spine::service(config, &deps, &mesh).await.unwrap();
        let tap = Tap::new();
        let way = |name: &str, descriptors: &'static [u8]| {
            let stack = domains.iter().find(|d| d.name == name).unwrap().stack.clone();
            let line = Arc::new(Line { stack, tap: Arc::clone(&tap) });
            let over = Stack::compose(name, &[descriptors], &routes(&line), deps.stack.clone()).unwrap();
            Transport::local(&over)
        };
        let tapped = Targets {
            activity: way("activity", contracts_activity::DESCRIPTORS),
            incidents: way("incidents", contracts_incidents::DESCRIPTORS),
            policies: way("policies", contracts_policies::DESCRIPTORS),
            logs: way("logs", contracts_logs::DESCRIPTORS),
            controls: way("controls", contracts_controls::DESCRIPTORS),
        };
        let registry = spine.service.stack.registry();
        let complete = registry.operation("runspine.spine.v1.RunService/CompleteRun").unwrap();
        let ingest = registry.operation("runspine.spine.v1.SpanIngestService/IngestSpans").unwrap();
        let start = registry.operation("runspine.spine.v1.RunService/StartRun").unwrap();
        let authorize = registry.operation("runspine.spine.v1.RunService/AuthorizeStep").unwrap();
        let entered = [&complete.calls, &ingest.calls, &start.calls, &authorize.calls];
        let own = entered.into_iter().flatten().map(String::as_str);
        let calls: Vec<&str> = reactor::CALLS.iter().chain(reconciler::CALLS).copied().chain(own).collect();
        let worker = registry.worker("sagas", &calls).unwrap();
        let house = Self { spine, tap, domains, clock, tapped, worker, tenant: new_id(), _folder: folder };
        house.budget().await;
        house
    }

    /// Money that every run may spend, so that there is something to settle.
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

    /// A replica that has just started: it knows what is stored and nothing else.
    pub fn kernel(&self) -> Kernel {
        let freezes = FreezeView::default();
        let quiet = WatchEpochResponse { kind: WatchKind::Snapshot.into(), ..Default::default() };
        freezes.learn(quiet, self.clock.now());
        let bridges = Bridges::new(&self.tapped);
        Kernel::new(bridges, config(), Arc::new(freezes), Arc::clone(&self.clock))
    }

    fn call(&self) -> CallContext {
        CallContext {
            tenant_id: self.tenant.clone(),
            actor: Some(Actor { r#type: ActorType::Human.into(), id: "ada".to_owned() }),
            credential_id: "ada".to_owned(),
            roles: vec!["OWNER".to_owned()],
            correlation_id: new_id(),
            profile: 2,
            config_digest: vec![7; 32].into(),
            ..CallContext::default()
        }
    }

    /// Whoever drives a saga while something happens.
    pub fn hurried(&self) -> Context {
        Context::serving(&self.worker, self.call(), None).until(Some(Instant::now() + SHORT))
    }

    /// The mesh's own worker, over all tenants.
    pub fn reconciler(&self) -> Reconciler {
        let call = CallContext {
            tenant_id: PLATFORM_TENANT.to_owned(),
            actor: Some(Actor { r#type: ActorType::System.into(), id: "spine".to_owned() }),
            credential_id: String::new(),
            roles: Vec::new(),
            ..self.call()
        };
        let context = Context::serving(&self.worker, call, None);
        let config = ReconcilerConfig::default();
        Reconciler::new(Arc::new(self.kernel()), context, config, new_id(), Arc::default())
    }

    /// Whoever drives a saga when nothing happens any more.
    pub fn patient(&self) -> Context {
        Context::serving(&self.worker, self.call(), None).until(Some(Instant::now() + PATIENCE))
    }

    /// Asks a domain, or the spine, past the tap.
    pub async fn ask<Q, A>(&self, operation: &str, message: Q) -> A
    where
        Q: Message + Default + Clone + 'static,
        A: Message + Default + 'static,
    {
        until_ok(PATIENCE, || self.try_ask(operation, message.clone())).await
    }

    /// Asks for what is refused, and gives the reason.
    pub async fn refuse<Q, A>(&self, operation: &str, message: Q) -> String
    where
        Q: Message + Default + Clone + 'static,
        A: Message + Default + std::fmt::Debug + 'static,
    {
        let refused = until_ok(PATIENCE, || async {
            match self.try_ask::<Q, A>(operation, message.clone()).await {
                Err(status) if status.code() != tonic::Code::Unavailable => Ok(status),
                other => Err(other),
            }
        });
        runspine_rpc::details(&refused.await).reason
    }

    async fn try_ask<Q, A>(&self, operation: &str, message: Q) -> Result<A, Status>
    where
        Q: Message + Default + Clone + 'static,
        A: Message + Default + 'static,
    {
        let registry = self.spine.service.stack.registry();
        let contract = registry.operation(&format!("runspine.{operation}")).expect("a known operation");
        let domain = self.domains.iter().find(|d| d.name == contract.domain);
        let stack = domain.map_or(&self.spine.service.stack, |d| &d.stack);
        let mut grpc = Grpc::new(Transport::local(stack));
        grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let request = Context::serving(contract, self.call(), None).request(message);
        let codec = ProstCodec::<Q, A>::default();
        grpc.unary(request, contract.path.parse().unwrap(), codec).await.map(tonic::Response::into_inner)
    }

    /// A rule in force, and its id.
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

    /// An ordinary start.
    pub fn request(&self, max_attempts: u32) -> pb::StartRunRequest {
        pb::StartRunRequest {
            request_id: new_id(),
            run_id: new_id(),
            project_id: "shop".to_owned(),
            agent_id: "agent".to_owned(),
            origin_system_id: "test".to_owned(),
            goal: "Sell something.".to_owned(),
            max_attempts,
            run_timeout_ms: 3_600_000,
            lease_ttl_ms: 300_000,
            ..Default::default()
        }
    }

    /// A run that executes, and nobody who has ended it.
    pub async fn run(&self, max_attempts: u32) -> (String, u64) {
        let start = self.request(max_attempts);
        let started: pb::StartRunResponse = self.ask("spine.v1.RunService/StartRun", start).await;
        (started.run.unwrap().run_id, started.lease.expect("a lease").fence)
    }

    pub async fn get(&self, run_id: &str) -> pb::GetRunResponse {
        let get = pb::GetRunRequest { run_id: run_id.to_owned(), attempt: 0, view: pb::RunView::Full.into() };
        self.ask("spine.v1.RunService/GetRun", get).await
    }

    pub async fn contract(&self, saga: &str, subject: &str, attempt: u32) -> AuditContract {
        let key = ContractKey { saga: saga.to_owned(), subject_id: subject.to_owned(), attempt };
        let get = GetAuditContractRequest { key: Some(key) };
        let found: contracts_logs::v1::GetAuditContractResponse =
            self.ask("logs.v1.AuditContractService/GetAuditContract", get).await;
        found.contract.unwrap()
    }
}

fn config() -> KernelConfig {
    KernelConfig { retry_base_ms: 0, retry_jitter_permille: 0, ..KernelConfig::default() }
}
