//! A tap on every way from the spine to a domain: calls are counted, repeated, lost on their way or on their way back.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context as TaskContext, Poll},
};

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use runspine_rpc::{Routes, Stack};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

/// What happens to calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Nothing.
    Calm,
    /// Each is made twice, and the second answer counts.
    Twice,
    /// The process that calls dies at its call number `at`, from 0: before it leaves, or when it is done and nobody has
    /// heard of it. From then on nothing leaves.
    Dies { at: usize, done: bool },
    /// None reaches this domain.
    Down(&'static str),
}

/// The plan in force, and what was called under it.
pub struct Tap {
    state: Mutex<(Plan, Vec<String>)>,
    meanwhile: Mutex<Option<(&'static str, BoxFuture<'static, ()>)>>,
}

enum Fate {
    Pass,
    Twice,
    Lost,
    DoneAndLost,
}

impl Tap {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((Plan::Calm, Vec::new())), meanwhile: Mutex::new(None) })
    }

    /// From now on this happens.
    pub fn plan(&self, plan: Plan) {
        *self.state.lock() = (plan, Vec::new());
    }

    /// Right before the next call of `method` this happens, once.
    pub fn meanwhile(&self, method: &'static str, what: impl Future<Output = ()> + Send + 'static) {
        *self.meanwhile.lock() = Some((method, Box::pin(what)));
    }

    async fn happen(&self, path: &str) {
        let due = {
            let mut meanwhile = self.meanwhile.lock();
            if meanwhile.as_ref().is_some_and(|(method, _)| path.ends_with(method)) {
                meanwhile.take()
            } else {
                None
            }
        };
        if let Some((_, what)) = due {
            what.await;
        }
    }

    /// What was called since the plan began.
    pub fn calls(&self) -> Vec<String> {
        self.state.lock().1.clone()
    }

    fn fate(&self, domain: &str, path: &str) -> Fate {
        let mut state = self.state.lock();
        let number = state.1.len();
        state.1.push(path.to_owned());
        match state.0 {
            Plan::Calm => Fate::Pass,
            Plan::Twice => Fate::Twice,
            Plan::Down(down) if down == domain => Fate::Lost,
            Plan::Down(_) => Fate::Pass,
            Plan::Dies { at, done: true } if number == at => Fate::DoneAndLost,
            Plan::Dies { at, .. } if number >= at => Fate::Lost,
            Plan::Dies { .. } => Fate::Pass,
        }
    }
}

/// The way to one domain.
pub struct Line {
    pub stack: Stack,
    pub tap: Arc<Tap>,
}

impl Line {
    async fn pass(&self, request: Request<Body>) -> Response<Body> {
        self.tap.happen(request.uri().path()).await;
        match self.tap.fate(self.stack.name(), request.uri().path()) {
            Fate::Pass => self.stack.call(request).await,
            Fate::Twice => {
                let (first, second) = copied(request).await;
                drop(self.stack.call(first).await);
                self.stack.call(second).await
            }
            Fate::Lost => lost(),
            Fate::DoneAndLost => {
                // What it does is done before the caller is gone: unary answers stand in their first bytes.
                let answer = self.stack.call(request).await;
                drop(answer.into_body().collect().await);
                lost()
            }
        }
    }
}

fn lost() -> Response<Body> {
    Status::unavailable("the way is cut").into_http()
}

async fn copied(request: Request<Body>) -> (Request<Body>, Request<Body>) {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.expect("a request in memory").to_bytes();
    let copy = || Request::from_parts(parts.clone(), Body::new(Full::new(bytes.clone())));
    (copy(), copy())
}

macro_rules! tapped {
    ($($name:ident = $service:literal),* $(,)?) => {
        $(#[derive(Clone)]
        struct $name(Arc<Line>);

        impl NamedService for $name {
            const NAME: &'static str = $service;
        }

        impl Service<Request<Body>> for $name {
            type Response = Response<Body>;
            type Error = Infallible;
            type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

            fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<Body>) -> Self::Future {
                let line = Arc::clone(&self.0);
                Box::pin(async move { Ok(line.pass(request).await) })
            }
        })*

        /// Every service that a saga calls.
        pub fn routes(line: &Arc<Line>) -> Routes {
            Routes::new()$(.add($name(Arc::clone(line))))*
        }
    };
}

tapped! {
    RunStore = "runspine.activity.v1.RunStoreService",
    RunQuery = "runspine.activity.v1.RunQueryService",
    IncidentReports = "runspine.incidents.v1.IncidentReportService",
    Incidents = "runspine.incidents.v1.IncidentService",
    IncidentExports = "runspine.incidents.v1.IncidentExportService",
    Decisions = "runspine.policies.v1.DecisionService",
    Approvals = "runspine.policies.v1.ApprovalService",
    Violations = "runspine.policies.v1.ViolationService",
    Contracts = "runspine.logs.v1.AuditContractService",
    Traces = "runspine.logs.v1.TraceService",
    Ledger = "runspine.logs.v1.LedgerService",
    Evidence = "runspine.logs.v1.EvidenceService",
    Exports = "runspine.logs.v1.ExportService",
    Spans = "runspine.logs.v1.SpanService",
    Admissions = "runspine.controls.v1.AdmissionService",
    Budgets = "runspine.controls.v1.BudgetService",
    Signals = "runspine.controls.v1.SignalService",
}
