//! The service over a store of its own, with a run to write about.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{
    AckStatus, Actor, ActorType, CallContext, DecisionSource, Directive, EventEnvelope, GovernanceProfile,
    RunPhase, RunSource, RunStatus, StepKind, StepOutcome, TerminationReason, Verdict,
};
use contracts_logs::v1::{
    self as pb, audit_contract_service_client::AuditContractServiceClient,
    event_service_client::EventServiceClient, export_service_client::ExportServiceClient,
    key_service_client::KeyServiceClient, ledger_service_client::LedgerServiceClient, record_item::Body,
    record_service_client::RecordServiceClient, trace_service_client::TraceServiceClient,
};
use runspine_boot::{Deps, Profile, Service};
use runspine_db::Db;
use runspine_logs::{Config, MIGRATIONS};
use runspine_rpc::{Context, Registry, Transport, details};
use runspine_testkit::{TestStore, run, tenant, test_id};
use runspine_types::{FixedClock, Micros};
use tonic::{Request, Status};

/// 2026-01-02T03:04:05Z.
pub const START: Micros = Micros(1_767_323_045_000_000);

pub struct House {
    pub clock: Arc<FixedClock>,
    pub traces: TraceServiceClient<Transport>,
    pub contracts: AuditContractServiceClient<Transport>,
    pub keys: KeyServiceClient<Transport>,
    pub exports: ExportServiceClient<Transport>,
    pub events: EventServiceClient<Transport>,
    pub ledger: LedgerServiceClient<Transport>,
    pub kept: RecordServiceClient<Transport>,
    pub store: TestStore,
    /// The way to every other service of the house.
    pub way: Transport,
    registry: Registry,
    dir: tempfile::TempDir,
    // A service is not `Sync`, and is only held here.
    _service: std::sync::Mutex<Service>,
}

pub type Answer<T> = Result<T, Status>;

impl House {
    pub async fn over(store: TestStore) -> Self {
        Self::with(store, Config::default()).await
    }

    pub async fn with(store: TestStore, config: Config) -> Self {
        Self::open(store, config, GovernanceProfile::Standard).await
    }

    pub async fn under(store: TestStore, profile: GovernanceProfile) -> Self {
        // STRICT wants a name of its own for what it signs.
        let mut config = Config::default();
        config.checkpoint.origin = "logs.example".to_owned();
        Self::open(store, config, profile).await
    }

    async fn open(store: TestStore, config: Config, profile: GovernanceProfile) -> Self {
        let clock = Arc::new(FixedClock::at(START));
        Self::start_over(store, clock, tempfile::tempdir().unwrap(), config, profile).await
    }

    /// The service started anew on the same store and keys.
    pub async fn again(self) -> Self {
        self.again_with(Config::default()).await
    }

    /// The same with other settings.
    pub async fn again_with(self, config: Config) -> Self {
        let profile = GovernanceProfile::Standard;
        Self::start_over(self.store, self.clock, self.dir, config, profile).await
    }

    async fn start_over(
        store: TestStore,
        clock: Arc<FixedClock>,
        dir: tempfile::TempDir,
        config: Config,
        profile: GovernanceProfile,
    ) -> Self {
        let mut deps = Deps::for_tests(dir.path()).unwrap().with_clock(clock.clone());
        deps.store = store.config().clone();
        if profile == GovernanceProfile::Strict {
            // STRICT makes no keys: they are there from a start before.
            drop(runspine_logs::service(config.clone(), &deps).await.unwrap());
        }
        deps.profile = Arc::new(Profile { name: profile, ..Profile::clone(&deps.profile) });
        let service = runspine_logs::service(config, &deps).await.unwrap();
        let way = Transport::local(&service.stack);
        Self {
            clock,
            traces: TraceServiceClient::new(way.clone()),
            contracts: AuditContractServiceClient::new(way.clone()),
            keys: KeyServiceClient::new(way.clone()),
            exports: ExportServiceClient::new(way.clone()),
            events: EventServiceClient::new(way.clone()),
            ledger: LedgerServiceClient::new(way.clone()),
            kept: RecordServiceClient::new(way.clone()),
            way,
            store,
            registry: Registry::read(&[contracts_logs::DESCRIPTORS]).unwrap(),
            dir,
            _service: std::sync::Mutex::new(service),
        }
    }

    /// The store itself, beside the service.
    pub async fn db(&self) -> Db {
        self.store.open("logs", MIGRATIONS).await
    }

    pub fn ask<M>(&self, operation: &str, message: M) -> Request<M> {
        self.ask_as(1, operation, message)
    }

    pub fn ask_as<M>(&self, number: u64, operation: &str, message: M) -> Request<M> {
        let operation =
            self.registry.operation(&format!("runspine.logs.v1.{operation}")).expect("an operation");
        let call = CallContext {
            tenant_id: tenant(number),
            actor: Some(actor()),
            correlation_id: "corr".to_owned(),
            ..CallContext::default()
        };
        Context::serving(operation, call, None).request(message)
    }

    pub fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    pub async fn start(&self, request: pb::StartTraceRequest) -> Answer<pb::StartTraceResponse> {
        let request = self.ask("TraceService/StartTrace", request);
        self.traces.clone().start_trace(request).await.map(tonic::Response::into_inner)
    }

    /// Declares what has to happen in a run and starts its trace.
    pub async fn begin(&self, number: u64) -> pb::StartTraceResponse {
        self.begin_as(number, GovernanceProfile::Standard).await
    }

    pub async fn begin_as(&self, number: u64, profile: GovernanceProfile) -> pb::StartTraceResponse {
        self.declare(number, 1).await;
        self.start(pb::StartTraceRequest { profile: profile.into(), ..start(number, 1) }).await.unwrap()
    }

    pub async fn declare(&self, number: u64, attempt: u32) {
        let promises = [
            ("logs", "start_trace", RunPhase::Created),
            ("policies", "evaluate_policy", RunPhase::GovernanceCheck),
            ("logs", "complete_trace", RunPhase::Finalizing),
            ("orchestrator", "finalize_run", RunPhase::Created),
        ];
        let expectations = promises
            .map(|(domain, action, phase)| pb::ExpectationSpec {
                domain: domain.into(),
                action: action.into(),
                due_phase: phase.into(),
                deadline_ms: if action == "finalize_run" { 0 } else { 5_000 },
                ..Default::default()
            })
            .to_vec();
        let request = pb::DeclareExpectationsRequest {
            key: Some(key(number, attempt)),
            expectations,
            run_timeout_ms: 30_000,
        };
        let request = self.ask("AuditContractService/DeclareExpectations", request);
        self.contracts.clone().declare_expectations(request).await.unwrap();
    }

    pub async fn append(&self, number: u64, items: Vec<pb::RecordItem>) -> Answer<Vec<pb::Receipt>> {
        self.append_as(1, number, items).await
    }

    pub async fn append_as(
        &self,
        who: u64,
        number: u64,
        items: Vec<pb::RecordItem>,
    ) -> Answer<Vec<pb::Receipt>> {
        let request = pb::AppendRecordsRequest { run_id: run(number), attempt: 1, items };
        let request = self.ask_as(who, "TraceService/AppendRecords", request);
        self.traces.clone().append_records(request).await.map(|r| r.into_inner().receipts)
    }

    pub async fn one(&self, number: u64, item: pb::RecordItem) -> Answer<pb::Receipt> {
        self.append(number, vec![item]).await.map(|mut receipts| receipts.remove(0))
    }

    /// Writes the completion intent and acknowledges everything before finalizing.
    pub async fn settle(&self, number: u64, attempt: u32) {
        let intent = pb::AppendIntentRequest {
            key: Some(key(number, attempt)),
            kind: "COMPLETION".into(),
            payload: "done".into(),
            ..Default::default()
        };
        let request = self.ask("AuditContractService/AppendIntent", intent);
        self.contracts.clone().append_intent(request).await.unwrap();
        let ack = pb::AckSpec {
            domain: "policies".into(),
            action: "evaluate_policy".into(),
            status: AckStatus::Success.into(),
            result_id: "ev-1".into(),
            idempotency_key: format!("{number}/{attempt}/evaluate_policy"),
            ..Default::default()
        };
        let request = pb::AcknowledgeRequest { key: Some(key(number, attempt)), acks: vec![ack], fence: 0 };
        let request = self.ask("AuditContractService/Acknowledge", request);
        self.contracts.clone().acknowledge(request).await.unwrap();
    }

    pub async fn seal(&self, request: pb::SealTraceRequest) -> Answer<pb::SealTraceResponse> {
        let request = self.ask("TraceService/SealTrace", request);
        self.traces.clone().seal_trace(request).await.map(tonic::Response::into_inner)
    }

    pub async fn late(&self, request: pb::AppendAddendumRequest) -> Answer<pb::AppendAddendumResponse> {
        let request = self.ask("TraceService/AppendAddendum", request);
        self.traces.clone().append_addendum(request).await.map(tonic::Response::into_inner)
    }

    pub async fn trace(&self, number: u64) -> Answer<pb::GetTraceResponse> {
        let request =
            self.ask("TraceService/GetTrace", pb::GetTraceRequest { run_id: run(number), attempt: 0 });
        self.traces.clone().get_trace(request).await.map(tonic::Response::into_inner)
    }

    pub async fn records(&self, request: pb::ListRecordsRequest) -> Answer<pb::ListRecordsResponse> {
        let request = self.ask("TraceService/ListRecords", request);
        self.traces.clone().list_records(request).await.map(tonic::Response::into_inner)
    }

    pub async fn prove(&self, number: u64) -> pb::VerifyTraceResponse {
        let request = pb::VerifyTraceRequest { run_id: run(number), attempt: 0 };
        let request = self.ask("TraceService/VerifyTrace", request);
        self.traces.clone().verify_trace(request).await.unwrap().into_inner()
    }

    pub async fn published(&self) -> Vec<EventEnvelope> {
        let request = pb::PullEventsRequest { consumer: "test".into(), limit: 500 };
        let request = self.ask("EventService/PullEvents", request);
        self.events.clone().pull_events(request).await.unwrap().into_inner().events
    }

    /// A run with an authorized and a failed-then-retried step, sealed.
    pub async fn sealed_run(&self, number: u64) -> pb::SealTraceResponse {
        self.begin(number).await;
        self.append(number, vec![decision("d1", 0), step("s1", 0, "d1")]).await.unwrap();
        self.advance(1_000);
        let retried = tried("s2", 1, "d2", 0, StepOutcome::Retried);
        self.append(number, vec![decision("d2", 1), retried, tried("s3", 1, "d2", 1, StepOutcome::Success)])
            .await
            .unwrap();
        self.settle(number, 1).await;
        self.seal(sealing(number, 1)).await.unwrap()
    }

    /// The folder of the service's keys.
    pub fn keys_folder(&self) -> std::path::PathBuf {
        self.dir.path().join("keys")
    }

    /// The folder of everything that the service keeps beside its store.
    pub fn data_folder(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// The folder of archived bundles.
    pub fn archive_folder(&self) -> std::path::PathBuf {
        self.dir.path().join("archive")
    }

    /// A checkpoint over everything that is committed.
    pub async fn checkpoint(&self) -> pb::Checkpoint {
        let request = self.ask("LedgerService/CreateCheckpoint", pb::CreateCheckpointRequest::default());
        self.ledger.clone().create_checkpoint(request).await.unwrap().into_inner().checkpoint.unwrap()
    }

    /// The bundle of a run.
    pub async fn bundle(
        &self,
        number: u64,
        allow_open: bool,
        decisions: Vec<pb::DecisionDocument>,
    ) -> Answer<Vec<u8>> {
        use pb::build_run_bundle_request::Part;
        let head = pb::BundleHead {
            run_id: run(number),
            bundle_id: test_id(8, number),
            created_by: "auditor".into(),
            allow_open,
            ..Default::default()
        };
        let parts = std::iter::once(Part::Head(head)).chain(decisions.into_iter().map(Part::Decision));
        let messages: Vec<_> = parts.map(|part| pb::BuildRunBundleRequest { part: Some(part) }).collect();
        let request = self.ask("ExportService/BuildRunBundle", futures::stream::iter(messages));
        let mut pieces = self.exports.clone().build_run_bundle(request).await?.into_inner();
        let mut file = Vec::new();
        while let Some(piece) = pieces.message().await? {
            assert!(piece.chunk.len() <= 64 * 1024);
            file.extend_from_slice(&piece.chunk);
        }
        Ok(file)
    }
}

/// The reason of a refusal.
pub fn reason<T: std::fmt::Debug>(outcome: Answer<T>) -> String {
    details(&outcome.unwrap_err()).reason
}

pub fn actor() -> Actor {
    Actor { r#type: ActorType::Agent.into(), id: "agent-7".to_owned() }
}

pub fn key(number: u64, attempt: u32) -> pb::ContractKey {
    pb::ContractKey { saga: "run".into(), subject_id: run(number), attempt }
}

pub fn start(number: u64, attempt: u32) -> pb::StartTraceRequest {
    pb::StartTraceRequest {
        run_id: run(number),
        attempt,
        agent_id: "agent-7".into(),
        profile: GovernanceProfile::Standard.into(),
        source: RunSource::Sdk.into(),
        ..Default::default()
    }
}

pub fn sealing(number: u64, attempt: u32) -> pb::SealTraceRequest {
    pb::SealTraceRequest {
        run_id: run(number),
        attempt,
        run_status: RunStatus::Succeeded.into(),
        termination_reason: TerminationReason::Completed.into(),
        ..Default::default()
    }
}

pub fn item(key: &str, step_index: Option<u32>, body: Body) -> pb::RecordItem {
    pb::RecordItem {
        idempotency_key: key.to_owned(),
        step_index,
        actor: Some(actor()),
        body: Some(body),
        ..Default::default()
    }
}

pub fn decision(id: &str, step_index: u32) -> pb::RecordItem {
    decided(id, Some(step_index), Verdict::Allow)
}

pub fn decided(id: &str, step_index: Option<u32>, verdict: Verdict) -> pb::RecordItem {
    let body = pb::Decision {
        decision_id: id.to_owned(),
        verdict: verdict.into(),
        directive: Directive::Continue.into(),
        kind: StepKind::ToolCall.into(),
        name: "weather.get".into(),
        source: DecisionSource::Policy.into(),
        reason: "RULE_ALLOW".into(),
        rule_ids: vec!["rule-1".into()],
        ..Default::default()
    };
    item(&format!("key-{id}"), step_index, Body::Decision(body))
}

pub fn step(key: &str, step_index: u32, decision_id: &str) -> pb::RecordItem {
    tried(key, step_index, decision_id, 0, StepOutcome::Success)
}

pub fn tried(
    key: &str,
    step_index: u32,
    decision_id: &str,
    retry_count: u32,
    outcome: StepOutcome,
) -> pb::RecordItem {
    let body = pb::Step {
        kind: StepKind::ToolCall.into(),
        name: "weather.get".into(),
        decision_id: decision_id.to_owned(),
        verdict: Verdict::Allow.into(),
        outcome: outcome.into(),
        retry_count,
        input_tokens: 10,
        output_tokens: 5,
        cost_microusd: 1_500,
        duration_us: 250_000,
        ..Default::default()
    };
    item(&format!("key-{key}"), Some(step_index), Body::Step(body))
}
