//! The service over a store of its own.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{Actor, ActorType, CallContext, EventEnvelope, RunPhase};
use contracts_logs::v1::{
    self as pb, audit_contract_service_client::AuditContractServiceClient,
    event_service_client::EventServiceClient, evidence_service_client::EvidenceServiceClient,
    ledger_service_client::LedgerServiceClient, record_service_client::RecordServiceClient,
};
use runspine_boot::Deps;
use runspine_db::{Db, Tuning};
use runspine_logs::{Config, MIGRATIONS};
use runspine_rpc::{Context, Registry, Transport, details};
use runspine_testkit::{TestStore, tenant, test_id};
use runspine_types::{Clock as _, FixedClock, Micros, PLATFORM_TENANT};
use tonic::{Request, Status};

/// 2026-01-02T03:04:05Z.
pub const START: Micros = Micros(1_767_323_045_000_000);

pub struct House {
    pub clock: Arc<FixedClock>,
    pub contracts: AuditContractServiceClient<Transport>,
    pub ledger: LedgerServiceClient<Transport>,
    pub evidence: EvidenceServiceClient<Transport>,
    pub records: RecordServiceClient<Transport>,
    pub events: EventServiceClient<Transport>,
    registry: Registry,
    pub store: TestStore,
    dir: tempfile::TempDir,
}

/// Who asks.
#[derive(Clone, Copy)]
pub enum Who {
    Tenant(u64),
    Platform,
}

impl House {
    pub async fn over(store: TestStore) -> Self {
        Self::with(store, Config::default()).await
    }

    pub async fn with(store: TestStore, config: Config) -> Self {
        let clock = Arc::new(FixedClock::at(START));
        Self::start(store, clock, tempfile::tempdir().unwrap(), config).await
    }

    /// The service started anew on the same store and keys.
    pub async fn again(self, config: Config) -> Self {
        Self::start(self.store, self.clock, self.dir, config).await
    }

    async fn start(store: TestStore, clock: Arc<FixedClock>, dir: tempfile::TempDir, config: Config) -> Self {
        let way = serve(&store, &clock, dir.path(), config).await;
        Self {
            clock,
            contracts: AuditContractServiceClient::new(way.clone()),
            ledger: LedgerServiceClient::new(way.clone()),
            evidence: EvidenceServiceClient::new(way.clone()),
            records: RecordServiceClient::new(way.clone()),
            events: EventServiceClient::new(way),
            registry: Registry::read(&[contracts_logs::DESCRIPTORS]).unwrap(),
            store,
            dir,
        }
    }

    /// Another process on the same store.
    pub async fn replica(&self) -> AuditContractServiceClient<Transport> {
        AuditContractServiceClient::new(
            serve(&self.store, &self.clock, self.dir.path(), Config::default()).await,
        )
    }

    /// The store itself, beside the service.
    pub async fn db(&self) -> Db {
        self.store.open_with("logs", MIGRATIONS, Tuning::default()).await
    }

    pub fn ask<M>(&self, operation: &str, message: M) -> Request<M> {
        self.ask_as(Who::Tenant(1), operation, message)
    }

    pub fn ask_as<M>(&self, who: Who, operation: &str, message: M) -> Request<M> {
        let name = format!("runspine.logs.v1.{operation}");
        let operation = self.registry.operation(&name).expect("a known operation");
        let tenant_id = match who {
            Who::Tenant(number) => tenant(number),
            Who::Platform => PLATFORM_TENANT.to_owned(),
        };
        let call = CallContext {
            tenant_id,
            actor: Some(actor("spine")),
            correlation_id: "corr".to_owned(),
            causation_id: "cause".to_owned(),
            ..CallContext::default()
        };
        Context::serving(operation, call, None).request(message)
    }

    pub fn advance(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
    }

    pub fn now(&self) -> Micros {
        self.clock.now()
    }

    pub async fn pull(&self) -> Vec<EventEnvelope> {
        let request = pb::PullEventsRequest { consumer: "test".into(), limit: 500 };
        let request = self.ask("EventService/PullEvents", request);
        self.events.clone().pull_events(request).await.unwrap().into_inner().events
    }

    pub async fn declare(
        &self,
        request: pb::DeclareExpectationsRequest,
    ) -> Result<pb::DeclareExpectationsResponse, Status> {
        let request = self.ask("AuditContractService/DeclareExpectations", request);
        self.contracts.clone().declare_expectations(request).await.map(tonic::Response::into_inner)
    }

    pub async fn acknowledge(
        &self,
        request: pb::AcknowledgeRequest,
    ) -> Result<pb::AcknowledgeResponse, Status> {
        let request = self.ask("AuditContractService/Acknowledge", request);
        self.contracts.clone().acknowledge(request).await.map(tonic::Response::into_inner)
    }

    pub async fn intend(&self, request: pb::AppendIntentRequest) -> Result<pb::AppendIntentResponse, Status> {
        let request = self.ask("AuditContractService/AppendIntent", request);
        self.contracts.clone().append_intent(request).await.map(tonic::Response::into_inner)
    }

    pub async fn move_deadline(
        &self,
        request: pb::MoveDeadlineRequest,
    ) -> Result<pb::MoveDeadlineResponse, Status> {
        let request = self.ask("AuditContractService/MoveDeadline", request);
        self.contracts.clone().move_deadline(request).await.map(tonic::Response::into_inner)
    }

    pub async fn reconcile(
        &self,
        key: &pb::ContractKey,
        pass: pb::ReconcilePass,
    ) -> Result<pb::ReconcileResponse, Status> {
        let request = pb::ReconcileRequest { key: Some(key.clone()), pass: pass.into() };
        let request = self.ask("AuditContractService/Reconcile", request);
        self.contracts.clone().reconcile(request).await.map(tonic::Response::into_inner)
    }

    pub async fn claim(
        &self,
        who: Who,
        request: pb::ClaimOverdueRequest,
    ) -> Result<Vec<pb::ContractClaim>, Status> {
        let request = self.ask_as(who, "AuditContractService/ClaimOverdue", request);
        self.contracts.clone().claim_overdue(request).await.map(|r| r.into_inner().claims)
    }

    pub async fn release(
        &self,
        request: pb::ReleaseClaimRequest,
    ) -> Result<pb::ReleaseClaimResponse, Status> {
        let request = self.ask("AuditContractService/ReleaseClaim", request);
        self.contracts.clone().release_claim(request).await.map(tonic::Response::into_inner)
    }

    pub async fn get(&self, key: &pb::ContractKey) -> Result<pb::AuditContract, Status> {
        let request = pb::GetAuditContractRequest { key: Some(key.clone()) };
        let request = self.ask("AuditContractService/GetAuditContract", request);
        self.contracts.clone().get_audit_contract(request).await.map(|r| r.into_inner().contract.unwrap())
    }

    pub async fn list(
        &self,
        who: Who,
        request: pb::ListAuditContractsRequest,
    ) -> Result<pb::ListAuditContractsResponse, Status> {
        let request = self.ask_as(who, "AuditContractService/ListAuditContracts", request);
        self.contracts.clone().list_audit_contracts(request).await.map(tonic::Response::into_inner)
    }

    pub async fn backlog(&self, who: Who) -> pb::GetContractBacklogResponse {
        let request =
            self.ask_as(who, "AuditContractService/GetContractBacklog", pb::GetContractBacklogRequest {});
        self.contracts.clone().get_contract_backlog(request).await.unwrap().into_inner()
    }

    pub async fn append(&self, entries: Vec<pb::LedgerEvent>) -> Result<Vec<pb::LedgerReceipt>, Status> {
        let request = self.ask("LedgerService/AppendEntries", pb::AppendEntriesRequest { entries });
        self.ledger.clone().append_entries(request).await.map(|r| r.into_inner().receipts)
    }
}

async fn serve(
    store: &TestStore,
    clock: &Arc<FixedClock>,
    dir: &std::path::Path,
    config: Config,
) -> Transport {
    let mut deps = Deps::for_tests(dir).unwrap().with_clock(clock.clone());
    deps.store = store.config().clone();
    let service = runspine_logs::service(config, &deps).await.unwrap();
    Transport::local(&service.stack)
}

/// The reason of a refusal.
pub fn reason<T: std::fmt::Debug>(outcome: Result<T, Status>) -> String {
    details(&outcome.unwrap_err()).reason
}

pub fn actor(id: &str) -> Actor {
    Actor { r#type: ActorType::System.into(), id: id.to_owned() }
}

/// The contract of run `number`.
pub fn key(number: u64) -> pb::ContractKey {
    pb::ContractKey { saga: "run".into(), subject_id: runspine_testkit::run(number), attempt: 1 }
}

/// A fresh id for a call.
pub fn call(number: u64) -> String {
    test_id(9, number)
}

pub fn spec(domain: &str, action: &str, phase: RunPhase, deadline_ms: u64) -> pb::ExpectationSpec {
    pb::ExpectationSpec {
        domain: domain.into(),
        action: action.into(),
        due_phase: phase.into(),
        deadline_ms,
        input: format!("input of {action}").into(),
    }
}

/// The promises of a run of 300 s.
pub fn of_a_run(key: &pb::ContractKey) -> pb::DeclareExpectationsRequest {
    use RunPhase::{Created, Finalizing, GovernanceCheck};
    pb::DeclareExpectationsRequest {
        key: Some(key.clone()),
        run_timeout_ms: 300_000,
        expectations: vec![
            spec("logs", "start_trace", Created, 5_000),
            spec("incidents", "create_incident", GovernanceCheck, 5_000),
            spec("policies", "evaluate_policy", GovernanceCheck, 5_000),
            spec("controls", "settle_budget", GovernanceCheck, 5_000),
            spec("logs", "complete_trace", Finalizing, 5_000),
            spec("orchestrator", "finalize_run", Created, 0),
        ],
    }
}

pub fn ack(key: &pb::ContractKey, domain: &str, action: &str, result: &str) -> pb::AcknowledgeRequest {
    pb::AcknowledgeRequest {
        key: Some(key.clone()),
        fence: 0,
        acks: vec![pb::AckSpec {
            domain: domain.into(),
            action: action.into(),
            status: contracts_common::common::v1::AckStatus::Success.into(),
            result_id: result.into(),
            idempotency_key: format!("{domain}/{action}/{result}"),
            ..Default::default()
        }],
    }
}

pub fn completion(key: &pb::ContractKey, payload: &'static [u8], fence: u64) -> pb::AppendIntentRequest {
    pb::AppendIntentRequest {
        key: Some(key.clone()),
        kind: "COMPLETION".into(),
        payload: payload.into(),
        fence,
        ..Default::default()
    }
}
