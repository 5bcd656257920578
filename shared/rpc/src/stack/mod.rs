//! The one middleware stack of a service, composed once and used behind both doors.
//!
//! Outer to inner: span → metrics → admission (load shed at the concurrency limit) → peer → contract → deadline → panic
//! guard → service. It is one future with a stage per file instead of a tower of layers: a step of a run crosses four
//! stacks in process, and each layer of a tower costs it a boxed future and a clone.

mod admission;
mod deadline;
mod guard;
mod meter;
mod peer;
mod stream;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context as TaskContext, Poll},
    time::{Duration, Instant},
};

use http::{Request, Response};
use runspine_errors::{Fault, mesh};
use runspine_types::Clock;
use tokio::time::Instant as TokioInstant;
use tonic::Code;
use tower::Service;
use tracing::Instrument;

use self::deadline::Until;
pub use self::{
    admission::{Admission, Limits, Permit},
    meter::{Meter, Snapshot},
};
use crate::{
    Body, Call, Context, MeshKey, Operation, Registry, RegistryError, Routes,
    observe::{self, Labels},
    refusal,
    routes::{Answer, Handler},
};

pub use self::deadline::grpc_timeout;
pub(crate) use deadline::{exceeded, set_grpc_timeout};
pub(crate) use guard::caught;
pub(crate) use peer::undeclared;

/// The most bytes of one message, unless the contract of its operation says otherwise.
pub const MAX_MESSAGE_BYTES: usize = 4 * 1024 * 1024;

/// Services that answer without a contract and without a peer: they are asked by probes and tools.
const OPEN_SERVICES: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// Whether `service` is health or reflection.
#[must_use]
pub(crate) fn is_open(service: &str) -> bool {
    OPEN_SERVICES.contains(&service)
}

/// What a stack is composed of besides its services.
#[derive(Clone)]
pub struct StackConfig {
    /// Verifies the spine's signature on calls from the network.
    pub key: MeshKey,
    /// Tells how old a signature is.
    pub clock: Arc<dyn Clock>,
    /// How much it takes at once.
    pub limits: Limits,
}

/// The composed service of one domain. Cheap to clone.
#[derive(Clone)]
pub struct Stack {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    methods: HashMap<String, Method>,
    registry: Registry,
    config: StackConfig,
    admission: Admission,
    draining: AtomicBool,
    unknown: Meter,
}

struct Method {
    operation: Arc<Operation>,
    labels: Labels,
    handler: Arc<dyn Handler>,
    meter: Meter,
}

impl Stack {
    /// Composes the services of the domain `name` under the contracts in `descriptors`.
    ///
    /// # Errors
    /// With everything that is wrong with the contracts.
    pub fn compose(
        name: &str,
        descriptors: &[&[u8]],
        routes: &Routes,
        config: StackConfig,
    ) -> Result<Self, RegistryError> {
        Ok(Self::over(name, Registry::read(descriptors)?, routes, config))
    }

    /// Composes over a registry that was read already.
    #[must_use]
    pub fn over(name: &str, registry: Registry, routes: &Routes, config: StackConfig) -> Self {
        let mut methods = HashMap::new();
        for operation in registry.operations() {
            if let Some(handler) = routes.get(&operation.service) {
                let (labels, meter) = (Labels::of(&operation.name), Meter::default());
                let method = Method { operation: Arc::clone(operation), labels, handler, meter };
                methods.insert(operation.path.clone(), method);
            }
        }
        let inner = Inner {
            name: name.to_owned(),
            methods,
            registry,
            admission: Admission::new(config.limits),
            config,
            draining: AtomicBool::new(false),
            unknown: Meter::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The contracts it was composed under.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Whether the operation `package.Service/Method` is served here.
    #[must_use]
    pub fn serves(&self, name: &str) -> bool {
        self.inner.registry.operation(name).is_some_and(|op| self.inner.methods.contains_key(&op.path))
    }

    /// Full names of the services that are served here, without health and reflection.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        let mut names: Vec<_> = self.inner.methods.values().map(|m| m.operation.service.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// From now on calls from the network are refused; calls in process go on, so that open work can finish.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.admission.in_flight()
    }

    /// What was counted, by operation.
    #[must_use]
    pub fn snapshots(&self) -> Vec<(Arc<Operation>, Snapshot)> {
        let methods = self.inner.methods.values();
        methods.map(|m| (Arc::clone(&m.operation), m.meter.snapshot())).collect()
    }

    /// Answers one call. Calls in process carry their context as an extension, calls from the network signed headers.
    #[must_use]
    pub fn call(&self, request: Request<Body>) -> Call {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.observed(request).await })
    }
}

impl Inner {
    /// Span and metrics.
    async fn observed(&self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let Some(method) = self.methods.get(path) else { return self.unserved(path) };
        let begun = Instant::now();
        let span = match request.extensions().get::<Context>() {
            Some(_) => observe::inner_span(&method.operation),
            None => observe::arrival_span(&method.operation, request.headers()),
        };
        let served = self.admitted(method, request);
        // An instrumented future enters the span at each poll: not worth it when nobody listens.
        let response = if span.is_disabled() { served.await } else { served.instrument(span.clone()).await };
        let (code, took) = (code_in_head(&response), begun.elapsed());
        observe::ended(&span, code);
        observe::served(&method.labels, code, took);
        method.meter.count(code, took);
        response
    }

    async fn admitted(&self, method: &Method, mut request: Request<Body>) -> Response<Body> {
        let _permit = match self.admission.enter() {
            Ok(permit) => permit,
            Err(fault) => return refusal(fault),
        };
        let draining = self.draining.load(Ordering::Acquire);
        let until = match peer::admit(&self.config, &method.operation, &mut request, draining) {
            Ok(context) => {
                observe::about(&context.run_id);
                Until::of(&method.operation, context.deadline())
            }
            Err(fault) => return refusal(fault),
        };
        let handled = guard::caught(method.handler.handle(request));
        let response = deadline::within(until, handled).await;
        if method.operation.is_unary() { response } else { stream::guarded(response, until) }
    }

    fn unserved(&self, path: &str) -> Response<Body> {
        self.unknown.count(Code::Unimplemented, Duration::ZERO);
        refusal(Fault::new(&mesh::UNKNOWN_OPERATION, format!("no operation {path} is served here")))
    }
}

impl Service<Request<Body>> for Stack {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { Ok(inner.observed(request).await) })
    }
}

/// The code in the head of a response. A unary failure always stands there; a success stands in the trailers.
#[must_use]
pub fn code_in_head(response: &Response<Body>) -> Code {
    let status = response.headers().get("grpc-status");
    status.map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

/// The earlier of two moments that may be absent.
pub(crate) fn earlier(a: Option<TokioInstant>, b: Option<TokioInstant>) -> Option<TokioInstant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
