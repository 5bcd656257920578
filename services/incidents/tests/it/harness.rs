//! The service over a store of its own, called as the spine calls it.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{Actor, ActorType, CallContext, EventEnvelope, Totals};
use contracts_incidents::v1::{
    self as pb, event_service_client::EventServiceClient,
    incident_export_service_client::IncidentExportServiceClient,
    incident_report_service_client::IncidentReportServiceClient,
    incident_service_client::IncidentServiceClient,
};
use runspine_boot::{Deps, Service};
use runspine_db::{AssertSqlSafe, Db, FromRow, args};
use runspine_errors::{Fault, Reason};
use runspine_incidents::{Config, app::App, rpc, store::MIGRATIONS};
use runspine_rpc::{Context, Registry, Transport, details};
use runspine_testkit::{TestStore, run, tenant, test_id};
use runspine_types::{FixedClock, Micros};
use tonic::{Request, Status};

/// 2026-01-02T03:04:05Z.
pub const START: Micros = Micros(1_767_323_045_000_000);

/// A served store.
pub struct House {
    pub db: Db,
    pub clock: Arc<FixedClock>,
    pub reports: IncidentReportServiceClient<Transport>,
    pub incidents: IncidentServiceClient<Transport>,
    pub events: EventServiceClient<Transport>,
    pub exports: IncidentExportServiceClient<Transport>,
    registry: Registry,
    store: TestStore,
    dir: tempfile::TempDir,
}

impl House {
    pub async fn over(store: TestStore) -> Self {
        Self::with(store, Config::default()).await
    }

    pub async fn with(store: TestStore, config: Config) -> Self {
        let clock = Arc::new(FixedClock::at(START));
        let dir = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(dir.path()).unwrap().with_clock(clock.clone());
        let db = store.open("incidents", MIGRATIONS).await;
        let routes = rpc::routes(App::new(db.clone(), clock.clone(), config));
        let service = Service::new("incidents", contracts_incidents::DESCRIPTORS, &routes, &deps).unwrap();
        let way = Transport::local(&service.stack);
        Self {
            db,
            clock,
            reports: IncidentReportServiceClient::new(way.clone()),
            incidents: IncidentServiceClient::new(way.clone()),
            events: EventServiceClient::new(way.clone()),
            exports: IncidentExportServiceClient::new(way),
            registry: Registry::read(&[contracts_incidents::DESCRIPTORS]).unwrap(),
            store,
            dir,
        }
    }

    /// Another process on the same store.
    pub async fn replica(&self) -> IncidentReportServiceClient<Transport> {
        let deps = Deps::for_tests(self.dir.path()).unwrap().with_clock(self.clock.clone());
        let db = self.store.open("incidents", MIGRATIONS).await;
        let routes = rpc::routes(App::new(db, self.clock.clone(), Config::default()));
        let service = Service::new("incidents", contracts_incidents::DESCRIPTORS, &routes, &deps).unwrap();
        IncidentReportServiceClient::new(Transport::local(&service.stack))
    }

    /// `message` as tenant 1 and the actor `kim` for an operation, e.g. `IncidentService/GetIncident`.
    pub fn ask<M>(&self, operation: &str, message: M) -> Request<M> {
        self.ask_as(1, "kim", operation, message)
    }

    pub fn ask_as<M>(&self, tenant_number: u64, actor: &str, operation: &str, message: M) -> Request<M> {
        self.ask_of(tenant_number, (ActorType::Human, actor), operation, message)
    }

    pub fn ask_of<M>(
        &self,
        tenant_number: u64,
        (kind, actor): (ActorType, &str),
        operation: &str,
        message: M,
    ) -> Request<M> {
        let name = format!("runspine.incidents.v1.{operation}");
        let operation = self.registry.operation(&name).expect("a known operation");
        let call = CallContext {
            tenant_id: tenant(tenant_number),
            actor: Some(Actor { r#type: kind.into(), id: actor.to_owned() }),
            correlation_id: "corr".to_owned(),
            ..CallContext::default()
        };
        Context::serving(operation, call, None).request(message)
    }

    pub async fn report(
        &self,
        r: pb::ReportRunOutcomeRequest,
    ) -> Result<pb::ReportRunOutcomeResponse, Status> {
        let request = self.ask("IncidentReportService/ReportRunOutcome", r);
        self.reports.clone().report_run_outcome(request).await.map(tonic::Response::into_inner)
    }

    pub async fn fact(&self, r: pb::ReportIncidentRequest) -> Result<pb::ReportIncidentResponse, Status> {
        let request = self.ask("IncidentReportService/ReportIncident", r);
        self.reports.clone().report_incident(request).await.map(tonic::Response::into_inner)
    }

    pub async fn void(&self, r: pb::VoidIncidentRequest) -> Result<pb::VoidIncidentResponse, Status> {
        let request = self.ask("IncidentReportService/VoidIncident", r);
        self.reports.clone().void_incident(request).await.map(tonic::Response::into_inner)
    }

    pub async fn get(&self, incident_id: &str) -> pb::GetIncidentResponse {
        let message = pb::GetIncidentRequest { incident_id: incident_id.to_owned() };
        let request = self.ask("IncidentService/GetIncident", message);
        self.incidents.clone().get_incident(request).await.unwrap().into_inner()
    }

    pub async fn incident(&self, incident_id: &str) -> pb::Incident {
        self.get(incident_id).await.incident.unwrap()
    }

    pub async fn of_run(&self, number: u64) -> pb::ListRunIncidentsResponse {
        let request =
            self.ask("IncidentService/ListRunIncidents", pb::ListRunIncidentsRequest { run_id: run(number) });
        self.incidents.clone().list_run_incidents(request).await.unwrap().into_inner()
    }

    pub async fn history(&self, incident_id: &str) -> Vec<pb::IncidentEvent> {
        let message = pb::ListIncidentEventsRequest {
            incident_id: incident_id.to_owned(),
            page_size: 500,
            page_token: String::new(),
        };
        let request = self.ask("IncidentService/ListIncidentEvents", message);
        self.incidents.clone().list_incident_events(request).await.unwrap().into_inner().events
    }

    /// Everything in the outbox.
    pub async fn published(&self) -> Vec<EventEnvelope> {
        let message = pb::PullEventsRequest { consumer: "test".to_owned(), limit: 500 };
        let request = self.ask("EventService/PullEvents", message);
        self.events.clone().pull_events(request).await.unwrap().into_inner().events
    }

    pub async fn published_kinds(&self) -> Vec<String> {
        self.published().await.into_iter().map(|e| e.r#type.replace("incidents.", "")).collect()
    }

    pub async fn count(&self, table: &str) -> i64 {
        self.one::<(i64,)>(&format!("SELECT COUNT(*) FROM {table}")).await.0
    }

    pub async fn one<R: FromRow>(&self, sql: &str) -> R {
        self.db.read().fetch_one::<R>(AssertSqlSafe(sql.to_owned()), args![]).await.unwrap()
    }

    /// A statement written by hand.
    pub async fn by_hand(&self, sql: &str) -> Result<u64, Fault> {
        let sql = AssertSqlSafe(sql.to_owned());
        self.db.write("by_hand", |tx| Box::pin(async move { Ok(tx.execute(sql, args![]).await?) })).await
    }

    pub fn after(&self, time: Duration) {
        self.clock.advance(time);
    }
}

/// A failed first attempt of run `number` by the agent `agent-7`, without a code of its own.
pub fn failed(number: u64) -> pb::ReportRunOutcomeRequest {
    pb::ReportRunOutcomeRequest {
        run_id: run(number),
        attempt: 1,
        status: 6,
        termination_reason: 8,
        agent_id: "agent-7".to_owned(),
        tool_name: "weather.get".to_owned(),
        usage: Some(Totals { cost_microusd: 100, ..Totals::default() }),
        ..pb::ReportRunOutcomeRequest::default()
    }
}

/// The same with a cause code.
pub fn failed_with(number: u64, code: &str) -> pb::ReportRunOutcomeRequest {
    pb::ReportRunOutcomeRequest { error_code: code.to_owned(), ..failed(number) }
}

/// A successful attempt of run `number`.
pub fn succeeded(number: u64, attempt: u32) -> pb::ReportRunOutcomeRequest {
    pb::ReportRunOutcomeRequest { attempt, status: 5, termination_reason: 1, ..failed(number) }
}

/// Fact `number`: the mesh failed.
pub fn system_fact(number: u64) -> pb::ReportIncidentRequest {
    pb::ReportIncidentRequest {
        source: 7,
        trigger_type: 12,
        category: 10,
        cause_code: "SYSTEM_FAILURE".to_owned(),
        severity: 3,
        title: "a saga was compensated".to_owned(),
        fact_id: format!("fact-{number}"),
        ..pb::ReportIncidentRequest::default()
    }
}

/// The undo of the report of run `number`.
pub fn void(number: u64, cause: &str) -> pb::VoidIncidentRequest {
    pb::VoidIncidentRequest {
        run_id: run(number),
        attempt: 1,
        cause: cause.to_owned(),
        reason: "the saga was compensated".to_owned(),
        request_id: request_id(number),
        ..pb::VoidIncidentRequest::default()
    }
}

/// Id of a call.
pub fn request_id(number: u64) -> String {
    test_id(9, number)
}

/// Whether a call was refused for this reason.
pub fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, reason: &Reason) -> Status {
    let status = answer.expect_err("a refusal");
    assert!(details(&status).is(reason), "{status:?}");
    status
}
