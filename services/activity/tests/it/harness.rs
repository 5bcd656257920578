//! The service over a store of its own, called as the spine calls it.

use std::{sync::Arc, time::Duration};

use contracts_activity::v1::{
    self as pb, event_service_client::EventServiceClient, run_query_service_client::RunQueryServiceClient,
    run_store_service_client::RunStoreServiceClient,
};
use contracts_common::common::v1::{
    Actor, CallContext, EventEnvelope, RunEvent as E, RunPhase as P, RunStatus as S, TerminationReason as R,
};
use runspine_activity::{Config, MIGRATIONS, routes};
use runspine_boot::{Deps, Service};
use runspine_db::{AssertSqlSafe, Db, FromRow, args};
use runspine_errors::{Fault, Reason};
use runspine_rpc::{Context, Registry, Transport, details};
use runspine_testkit::{TestStore, run, tenant, test_id};
use runspine_types::{FixedClock, Micros};
use tonic::{Request, Status};

/// 2026-01-02T03:04:05Z.
pub const START: Micros = Micros(1_767_323_045_000_000);

/// Calls an RPC as tenant 1: `call!(house, store.create_run, "CreateRun", request)`.
#[macro_export]
macro_rules! call {
    ($house:expr, $client:ident.$method:ident, $name:literal, $message:expr) => {
        $crate::call!($house, 1, $client.$method, $name, $message)
    };
    ($house:expr, $tenant:expr, $client:ident.$method:ident, $name:literal, $message:expr) => {{
        let request = $house.ask_as($tenant, stringify!($client), $name, $message);
        $house.$client.clone().$method(request).await.map(tonic::Response::into_inner)
    }};
}

/// A served store.
pub struct House {
    pub db: Db,
    pub clock: Arc<FixedClock>,
    pub store: RunStoreServiceClient<Transport>,
    pub query: RunQueryServiceClient<Transport>,
    pub events: EventServiceClient<Transport>,
    registry: Registry,
    engine: Arc<TestStore>,
    dir: tempfile::TempDir,
}

impl House {
    pub async fn over(store: TestStore) -> Self {
        Self::on(Arc::new(store), Arc::new(FixedClock::at(START))).await
    }

    async fn on(engine: Arc<TestStore>, clock: Arc<FixedClock>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(dir.path()).unwrap().with_clock(clock.clone());
        let db = engine.open("activity", MIGRATIONS).await;
        let routes = routes(db.clone(), clock.clone(), Config::default());
        let service = Service::new("activity", contracts_activity::DESCRIPTORS, &routes, &deps).unwrap();
        let way = Transport::local(&service.stack);
        Self {
            db,
            clock,
            store: RunStoreServiceClient::new(way.clone()),
            query: RunQueryServiceClient::new(way.clone()),
            events: EventServiceClient::new(way),
            registry: Registry::read(&[contracts_activity::DESCRIPTORS]).unwrap(),
            engine,
            dir,
        }
    }

    /// Another process on the same store.
    pub async fn replica(&self) -> Self {
        let _ = &self.dir;
        Self::on(self.engine.clone(), self.clock.clone()).await
    }

    pub fn ask_as<M>(&self, tenant_number: u64, client: &str, method: &str, message: M) -> Request<M> {
        let service = match client {
            "store" => "RunStoreService",
            "query" => "RunQueryService",
            _ => "EventService",
        };
        let name = format!("runspine.activity.v1.{service}/{method}");
        let operation = self.registry.operation(&name).expect("a known operation");
        let tenant_id = if tenant_number == 0 {
            runspine_types::PLATFORM_TENANT.to_owned()
        } else {
            tenant(tenant_number)
        };
        let call = CallContext {
            tenant_id,
            actor: Some(Actor { r#type: 2, id: "kernel".to_owned() }),
            correlation_id: "corr".to_owned(),
            config_digest: vec![7; 32].into(),
            ..CallContext::default()
        };
        Context::serving(operation, call, None).request(message)
    }

    pub async fn create(&self, number: u64) -> pb::CreateRunResponse {
        call!(self, store.create_run, "CreateRun", new_run(number)).unwrap()
    }

    /// A run that executes under a lease of `w`.
    pub async fn start(&self, number: u64) -> pb::TransitionRunResponse {
        self.create(number).await;
        self.go(number, 1, E::Authorize, P::Authorized, S::Queued).await.unwrap();
        self.transition(claim(number, 1, 2)).await.unwrap()
    }

    pub async fn transition(&self, r: pb::TransitionRunRequest) -> Result<pb::TransitionRunResponse, Status> {
        call!(self, store.transition_run, "TransitionRun", r)
    }

    pub async fn go(
        &self,
        number: u64,
        sequence: u64,
        event: E,
        phase: P,
        status: S,
    ) -> Result<pb::TransitionRunResponse, Status> {
        self.transition(mv(number, 1, sequence, event, phase, status)).await
    }

    pub async fn finish(&self, r: pb::FinishRunRequest) -> Result<pb::FinishRunResponse, Status> {
        call!(self, store.finish_run, "FinishRun", r)
    }

    /// From EXECUTING to the end.
    pub async fn complete(&self, number: u64) -> pb::FinishRunResponse {
        self.go(number, 3, E::End, P::GovernanceCheck, S::Running).await.unwrap();
        self.go(number, 4, E::Checked, P::Finalizing, S::Running).await.unwrap();
        self.finish(success(number, 1)).await.unwrap()
    }

    pub async fn state(&self, number: u64) -> pb::RunState {
        let message = pb::GetRunStateRequest { run_id: run(number), ..Default::default() };
        call!(self, store.get_run_state, "GetRunState", message).unwrap().state.unwrap()
    }

    pub async fn view(&self, number: u64) -> pb::GetRunViewResponse {
        call!(self, query.get_run_view, "GetRunView", pb::GetRunViewRequest { run_id: run(number) }).unwrap()
    }

    pub async fn run(&self, number: u64) -> pb::Run {
        self.view(number).await.run.unwrap()
    }

    /// The runs at risk, newest first, with their level.
    pub async fn list_at_risk(&self) -> Vec<(String, pb::RiskLevel)> {
        let filter = pb::RunFilter { at_risk_only: true, ..Default::default() };
        let message = pb::ListRunsRequest { filter: Some(filter), ..Default::default() };
        let runs = call!(self, query.list_runs, "ListRuns", message).unwrap().runs;
        runs.into_iter().map(|r| (r.run_id.clone(), r.risk_level())).collect()
    }

    pub async fn renew(&self, number: u64, fence: u64, key: u64) -> Result<pb::RenewLeaseResponse, Status> {
        let message = pb::RenewLeaseRequest {
            request_id: key_id(key),
            run_id: run(number),
            attempt: 1,
            holder: "w".into(),
            ttl_ms: 0,
            fence,
        };
        call!(self, store.renew_lease, "RenewLease", message)
    }

    pub async fn claim_lapsed(&self, key: u64, limit: u32) -> Vec<pb::LapsedRun> {
        let message = pb::ClaimLapsedRequest {
            request_id: key_id(key),
            worker_id: "worker".into(),
            limit,
            lease_ms: 30_000,
        };
        call!(self, 0, store.claim_lapsed, "ClaimLapsed", message).unwrap().runs
    }

    pub async fn pause(&self, number: u64, reason: pb::PauseReason, key: u64) -> pb::AddPauseResponse {
        call!(self, store.add_pause, "AddPause", new_pause(number, reason, key)).unwrap()
    }

    pub async fn clear(
        &self,
        number: u64,
        ids: &[&pb::Pause],
        fence: u64,
        key: u64,
    ) -> pb::ClearPausesResponse {
        let message = pb::ClearPausesRequest {
            request_id: key_id(key),
            run_id: run(number),
            attempt: 1,
            pause_ids: ids.iter().map(|p| p.pause_id.clone()).collect(),
            fence,
            ..Default::default()
        };
        call!(self, store.clear_pauses, "ClearPauses", message).unwrap()
    }

    pub async fn apply(&self, facts: Vec<pb::Fact>) -> Vec<pb::FactReceipt> {
        call!(self, store.apply_facts, "ApplyFacts", pb::ApplyFactsRequest { facts }).unwrap().receipts
    }

    pub async fn published(&self) -> Vec<EventEnvelope> {
        let message = pb::PullEventsRequest { consumer: "test".into(), limit: 500 };
        call!(self, events.pull_events, "PullEvents", message).unwrap().events
    }

    pub async fn one<T: FromRow>(&self, sql: &str) -> T {
        self.db.read().fetch_one::<T>(AssertSqlSafe(sql.to_owned()), args![]).await.unwrap()
    }

    /// A statement written by hand.
    pub async fn by_hand(&self, sql: &str) -> Result<u64, Fault> {
        let sql = AssertSqlSafe(sql.to_owned());
        self.db.write("by_hand", |tx| Box::pin(async move { Ok(tx.execute(sql, args![]).await?) })).await
    }

    pub fn after_ms(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }
}

pub fn key_id(number: u64) -> String {
    test_id(9, number)
}

pub fn attributes() -> pb::RunAttributes {
    pb::RunAttributes {
        project_id: "project".into(),
        agent_id: "agent-7".into(),
        request_digest: vec![1; 32].into(),
        actor_type: 1,
        actor_id: "kim".into(),
        origin_system_id: "tests".into(),
        source: 3,
        credential_id: "cred".into(),
        priority: 5,
        profile: 2,
        governance_config_digest: vec![2; 32].into(),
        labels: [("team".to_owned(), "blue".to_owned()), ("env".to_owned(), "test".to_owned())].into(),
        seed: 42,
        ..Default::default()
    }
}

pub fn new_run(number: u64) -> pb::CreateRunRequest {
    pb::CreateRunRequest {
        run_id: run(number),
        attributes: Some(attributes()),
        status: S::Queued as i32,
        start_input: b"input".to_vec().into(),
        ..Default::default()
    }
}

pub fn mv(
    number: u64,
    attempt: u32,
    sequence: u64,
    event: E,
    phase: P,
    status: S,
) -> pb::TransitionRunRequest {
    pb::TransitionRunRequest {
        run_id: run(number),
        attempt,
        expected_sequence: sequence,
        event: event as i32,
        to_phase: phase as i32,
        to_status: status as i32,
        reason: "test".into(),
        ..Default::default()
    }
}

pub fn claim(number: u64, attempt: u32, sequence: u64) -> pb::TransitionRunRequest {
    let grant = Some(pb::LeaseGrant { holder: "w".into(), ttl_ms: 0 });
    pb::TransitionRunRequest { grant, ..mv(number, attempt, sequence, E::Claim, P::Executing, S::Running) }
}

pub fn success(number: u64, attempt: u32) -> pb::FinishRunRequest {
    pb::FinishRunRequest {
        run_id: run(number),
        attempt,
        status: S::Succeeded as i32,
        termination_reason: R::Completed as i32,
        incident_result: Some(pb::IncidentResult { disposition: 3, id: String::new() }),
        evaluation_id: test_id(5, number),
        event: E::Finish as i32,
        ..Default::default()
    }
}

pub fn failure(number: u64, attempt: u32, status: S, reason: R, event: E) -> pb::FinishRunRequest {
    pb::FinishRunRequest {
        status: status as i32,
        termination_reason: reason as i32,
        incident_result: Some(pb::IncidentResult { disposition: 1, id: test_id(6, number) }),
        event: event as i32,
        ..success(number, attempt)
    }
}

pub fn new_pause(number: u64, reason: pb::PauseReason, key: u64) -> pb::AddPauseRequest {
    pb::AddPauseRequest {
        request_id: key_id(key),
        run_id: run(number),
        attempt: 1,
        reason: reason as i32,
        ..Default::default()
    }
}

/// Whether a call was refused for this reason.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, reason: &Reason) -> Status {
    let status = answer.expect_err("a refusal");
    assert!(details(&status).is(reason), "{status:?}");
    status
}
