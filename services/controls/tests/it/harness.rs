//! The service over a store of its own, called as the spine calls it.

use std::{sync::Arc, time::Duration};

use contracts_common::common::v1::{Actor, ActorType, Amounts, CallContext, EventEnvelope, Lease};
use contracts_controls::v1::{
    self as pb, admission_service_client::AdmissionServiceClient, alert_service_client::AlertServiceClient,
    breaker_service_client::BreakerServiceClient, budget_service_client::BudgetServiceClient,
    bypass_service_client::BypassServiceClient, coordination_service_client::CoordinationServiceClient,
    cost_sim_service_client::CostSimServiceClient, event_service_client::EventServiceClient,
    freeze_service_client::FreezeServiceClient, guardrail_service_client::GuardrailServiceClient,
    limit_service_client::LimitServiceClient, override_service_client::OverrideServiceClient,
    rate_service_client::RateServiceClient, scope_service_client::ScopeServiceClient,
    signal_service_client::SignalServiceClient, threshold_service_client::ThresholdServiceClient,
};
use runspine_boot::{Deps, Service};
use runspine_controls::{app::App, rpc, store::MIGRATIONS};
use runspine_controls_domain::guardrail::Defaults;
use runspine_db::{AssertSqlSafe, Db, FromRow, args};
use runspine_errors::Reason;
use runspine_rpc::{Context, Registry, Transport, details, timestamp};
use runspine_testkit::{TestStore, run, tenant, test_id, until_ok};
use runspine_types::{Clock, FixedClock, Micros};
use tonic::{Request, Response, Status};

/// 2026-01-02T03:04:05Z.
pub const START: Micros = Micros(1_767_323_045_000_000);

/// A served store.
pub struct House {
    pub app: App,
    pub db: Db,
    pub clock: Arc<FixedClock>,
    pub admissions: AdmissionServiceClient<Transport>,
    pub budgets: BudgetServiceClient<Transport>,
    pub guardrails: GuardrailServiceClient<Transport>,
    pub limits: LimitServiceClient<Transport>,
    pub rates: RateServiceClient<Transport>,
    pub freezes: FreezeServiceClient<Transport>,
    pub signals: SignalServiceClient<Transport>,
    pub thresholds: ThresholdServiceClient<Transport>,
    pub events: EventServiceClient<Transport>,
    pub overrides: OverrideServiceClient<Transport>,
    pub breakers: BreakerServiceClient<Transport>,
    pub scopes: ScopeServiceClient<Transport>,
    pub bypasses: BypassServiceClient<Transport>,
    pub coordination: CoordinationServiceClient<Transport>,
    pub alerts: AlertServiceClient<Transport>,
    pub costsim: CostSimServiceClient<Transport>,
    pub registry: Registry,
    store: TestStore,
    dir: tempfile::TempDir,
}

/// Calls an RPC under its own context: `call!(house, admissions.admit_run, "AdmissionService/AdmitRun", message)`.
#[macro_export]
macro_rules! call {
    ($house:expr, $client:ident.$method:ident, $operation:literal, $message:expr) => {
        $crate::harness::inner($house.$client.clone().$method($house.ask($operation, $message)).await)
    };
}

pub fn inner<T>(answer: Result<Response<T>, Status>) -> Result<T, Status> {
    answer.map(Response::into_inner)
}

impl House {
    /// Without guardrails: most suites look at one limit at a time.
    pub async fn over(store: TestStore) -> Self {
        Self::with(store, None).await
    }

    /// With guardrails, as the service runs.
    pub async fn guarded(store: TestStore, defaults: Defaults) -> Self {
        Self::with(store, Some(defaults)).await
    }

    async fn with(store: TestStore, guardrails: Option<Defaults>) -> Self {
        let clock = Arc::new(FixedClock::at(START));
        let dir = tempfile::tempdir().unwrap();
        let deps = Deps::for_tests(dir.path()).unwrap().with_clock(clock.clone());
        let db = store.open("controls", MIGRATIONS).await;
        let app = App::new(db.clone(), clock.clone(), guardrails);
        let routes = rpc::routes(app.clone());
        let service = Service::new("controls", contracts_controls::DESCRIPTORS, &routes, &deps).unwrap();
        let way = Transport::local(&service.stack);
        Self {
            app,
            db,
            clock,
            admissions: AdmissionServiceClient::new(way.clone()),
            budgets: BudgetServiceClient::new(way.clone()),
            guardrails: GuardrailServiceClient::new(way.clone()),
            limits: LimitServiceClient::new(way.clone()),
            rates: RateServiceClient::new(way.clone()),
            freezes: FreezeServiceClient::new(way.clone()),
            signals: SignalServiceClient::new(way.clone()),
            thresholds: ThresholdServiceClient::new(way.clone()),
            events: EventServiceClient::new(way.clone()),
            overrides: OverrideServiceClient::new(way.clone()),
            breakers: BreakerServiceClient::new(way.clone()),
            scopes: ScopeServiceClient::new(way.clone()),
            bypasses: BypassServiceClient::new(way.clone()),
            coordination: CoordinationServiceClient::new(way.clone()),
            alerts: AlertServiceClient::new(way.clone()),
            costsim: CostSimServiceClient::new(way),
            registry: Registry::read(&[contracts_controls::DESCRIPTORS]).unwrap(),
            store,
            dir,
        }
    }

    /// The admission and budget services of another process on the same store.
    pub async fn replica(&self) -> (AdmissionServiceClient<Transport>, BudgetServiceClient<Transport>) {
        let deps = Deps::for_tests(self.dir.path()).unwrap().with_clock(self.clock.clone());
        let db = self.store.open("controls", MIGRATIONS).await;
        let routes = rpc::routes(App::new(db, self.clock.clone(), self.app.guardrails));
        let service = Service::new("controls", contracts_controls::DESCRIPTORS, &routes, &deps).unwrap();
        let way = Transport::local(&service.stack);
        (AdmissionServiceClient::new(way.clone()), BudgetServiceClient::new(way))
    }

    /// `message` as tenant 1 and the actor `kim`.
    pub fn ask<M>(&self, operation: &str, message: M) -> Request<M> {
        self.ask_as(&tenant(1), "kim", operation, message)
    }

    /// `message` as tenant 1 and a machine.
    pub fn ask_machine<M>(&self, operation: &str, message: M) -> Request<M> {
        self.ask_of(&tenant(1), (ActorType::Service, "ci"), operation, message)
    }

    pub fn ask_as<M>(&self, tenant_id: &str, actor: &str, operation: &str, message: M) -> Request<M> {
        self.ask_of(tenant_id, (ActorType::Human, actor), operation, message)
    }

    /// `message` as tenant 1 and `kim`, under a governance profile.
    pub fn ask_under<M>(&self, profile: i32, operation: &str, message: M) -> Request<M> {
        self.ask_in(profile, &tenant(1), (ActorType::Human, "kim"), operation, message)
    }

    fn ask_of<M>(
        &self,
        tenant_id: &str,
        actor: (ActorType, &str),
        operation: &str,
        message: M,
    ) -> Request<M> {
        self.ask_in(2, tenant_id, actor, operation, message)
    }

    fn ask_in<M>(
        &self,
        profile: i32,
        tenant_id: &str,
        (kind, actor): (ActorType, &str),
        operation: &str,
        message: M,
    ) -> Request<M> {
        let name = format!("runspine.controls.v1.{operation}");
        let operation = self.registry.operation(&name).expect("a known operation");
        let call = CallContext {
            tenant_id: tenant_id.to_owned(),
            actor: Some(Actor { r#type: kind.into(), id: actor.to_owned() }),
            correlation_id: "corr".to_owned(),
            profile,
            ..CallContext::default()
        };
        Context::serving(operation, call, None).request(message)
    }

    pub async fn create(&self, number: u64, spec: pb::LimitSpec) -> pb::Limit {
        let message = pb::CreateLimitRequest { request_id: test_id(7, number), spec: Some(spec) };
        call!(self, limits.create_limit, "LimitService/CreateLimit", message).unwrap().limit.unwrap()
    }

    pub async fn admit(&self, number: u64) -> Result<pb::AdmitRunResponse, Status> {
        in_time(|| async {
            call!(self, admissions.admit_run, "AdmissionService/AdmitRun", self.start(number))
        })
        .await
    }

    /// A start of run `number` of agent `agent`, its lease good for 30 s.
    pub fn start(&self, number: u64) -> pb::AdmitRunRequest {
        pb::AdmitRunRequest {
            run_id: run(number),
            attempt: 1,
            scope: Some(pb::ScopeTuple {
                project_id: "project".into(),
                agent_id: "agent".into(),
                api_key_id: "key".into(),
                ..pb::ScopeTuple::default()
            }),
            requested: Some(cost(1)),
            lease: Some(Lease {
                fence: 1,
                holder: "h".into(),
                expires_at: Some(timestamp(self.in_ms(30_000))),
            }),
            profile: 2,
            ..pb::AdmitRunRequest::default()
        }
    }

    pub fn in_ms(&self, ms: i64) -> Micros {
        self.clock.now().plus_millis(ms)
    }

    pub async fn step(&self, message: pb::AdmitStepRequest) -> Result<pb::AdmitStepResponse, Status> {
        in_time(|| async {
            call!(self, admissions.admit_step, "AdmissionService/AdmitStep", message.clone())
        })
        .await
    }

    /// Extends the lease of run `number` by 30 s.
    pub async fn renew(&self, number: u64) {
        let message = pb::RenewRunLeaseRequest {
            run_id: run(number),
            attempt: 1,
            fence: 1,
            expires_at: Some(timestamp(self.in_ms(30_000))),
            freeze_epoch_seen: 0,
        };
        call!(self, admissions.renew_run_lease, "AdmissionService/RenewRunLease", message).unwrap();
    }

    pub async fn settle(&self, message: pb::SettleRequest) -> Result<pb::SettleResponse, Status> {
        in_time(|| async { call!(self, budgets.settle, "BudgetService/Settle", message.clone()) }).await
    }

    pub async fn settle_run(&self, number: u64, outcome: i32) -> Result<pb::Settlement, Status> {
        let message = pb::SettleRunRequest { run_id: run(number), attempt: 1, outcome, totals: None };
        let answer = call!(self, budgets.settle_run, "BudgetService/SettleRun", message)?;
        Ok(answer.settlement.unwrap())
    }

    pub async fn envelope(&self, id: &str) -> pb::Envelope {
        let message = pb::GetEnvelopeRequest { id: id.to_owned(), at: None };
        let answer = call!(self, budgets.get_envelope, "BudgetService/GetEnvelope", message);
        answer.unwrap().envelope.unwrap()
    }

    pub async fn verify(&self, envelope_id: &str) -> pb::VerifyEnvelopeResponse {
        let message = pb::VerifyEnvelopeRequest { envelope_id: envelope_id.to_owned(), at: None };
        call!(self, budgets.verify_envelope, "BudgetService/VerifyEnvelope", message).unwrap()
    }

    pub async fn published(&self) -> Vec<EventEnvelope> {
        let message = pb::PullEventsRequest { consumer: "test".to_owned(), limit: 500 };
        call!(self, events.pull_events, "EventService/PullEvents", message).unwrap().events
    }

    /// What was told, but for how runs stand with their limits: that has a suite of its own.
    pub async fn kinds(&self) -> Vec<String> {
        let events = self.published().await.into_iter().filter(|e| e.r#type != "controls.LimitEvaluated");
        events.map(|e| e.r#type.replace("controls.", "")).collect()
    }

    pub async fn one<R: FromRow>(&self, sql: &str) -> R {
        self.db.read().fetch_one::<R>(AssertSqlSafe(sql.to_owned()), args![]).await.unwrap()
    }
}

pub fn cost(amount: i64) -> Amounts {
    Amounts { cost_microusd: amount, ..Amounts::default() }
}

/// A daily limit of the tenant on cost.
pub fn daily(name: &str, max_value: i64) -> pb::LimitSpec {
    pb::LimitSpec {
        name: name.to_owned(),
        category: 1,
        unit: pb::LimitUnit::CostMicrousd as i32,
        scope: pb::LimitScope::Tenant as i32,
        max_value,
        period: pb::BudgetPeriod::Daily as i32,
        ..pb::LimitSpec::default()
    }
}

/// A limit of the tenant without a budget's fields.
pub fn plain(name: &str, category: i32, unit: pb::LimitUnit, max_value: i64) -> pb::LimitSpec {
    pb::LimitSpec { category, unit: unit as i32, period: 0, ..daily(name, max_value) }
}

/// Step `step` of run `number` that needs `amount`.
pub fn step(number: u64, step_index: u32, amount: i64) -> pb::AdmitStepRequest {
    pb::AdmitStepRequest {
        run_id: run(number),
        attempt: 1,
        step_index,
        fence: 1,
        kind: 1,
        resource: "model".into(),
        estimate: Some(cost(amount)),
        profile: 2,
        ..pb::AdmitStepRequest::default()
    }
}

/// The end of a step, by its place.
pub fn settled(number: u64, step_index: u32, amount: i64) -> pb::SettleRequest {
    pb::SettleRequest {
        hold: Some(pb::HoldRef {
            run_id: run(number),
            attempt: 1,
            step_index: Some(step_index),
            ..pb::HoldRef::default()
        }),
        actual: Some(cost(amount)),
        outcome: 1,
        ..pb::SettleRequest::default()
    }
}

pub fn verdict(admission: Option<&pb::Admission>) -> (i32, i32, Vec<String>) {
    let admission = admission.unwrap();
    let codes = admission.reasons.iter().map(|r| r.code.clone()).collect();
    (admission.verdict, admission.directive, codes)
}

/// That a call was refused for `reason`.
pub fn refused<T>(answer: Result<T, Status>, reason: &Reason) -> Status {
    let status = answer.err().expect("a refusal");
    assert_eq!(details(&status).reason, reason.name, "{status:?}");
    status
}

/// Asks again under the same key when the answer comes too late for a busy machine.
async fn in_time<T, F>(ask: impl Fn() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    for _ in 0..100 {
        match ask().await {
            Err(late) if late.code() == tonic::Code::DeadlineExceeded => {}
            answer => return answer,
        }
    }
    ask().await
}

/// Asks again under the same key while the answer is an outage or comes too late, as the kernel does.
pub async fn insist<T, F>(ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, Status>>,
{
    until_ok(Duration::from_secs(60), ask).await
}
