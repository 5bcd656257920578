//! Calls to another process: signed context, remaining deadline, breaker, and retries of what can be repeated.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use contracts_common::contract::v1::Idempotency;
use http::{HeaderMap, Request, Response, Uri};
use runspine_errors::{Fault, mesh};
use runspine_telemetry::inject_trace;
use runspine_types::Clock;
use tokio::time::{Instant, sleep, timeout_at};
use tonic::{
    Code, Status,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tower::{Service, ServiceExt};
use tracing::{Instrument, Span};

use super::{
    breaker::Breaker,
    retry::{Budget, MAX_ATTEMPTS, pause},
};
use crate::{
    Body, Context, MAX_MESSAGE_BYTES, MeshKey, Operation, Registry, collect, full_body,
    observe::{self, Labels},
    refusal,
    stack::{code_in_head, earlier, exceeded, set_grpc_timeout},
};

/// How to reach a service in another process.
#[derive(Clone)]
pub struct RemoteConfig {
    /// Its address, `https://host:port` or `http://host:port`.
    pub address: String,
    /// Whom an `https` address is trusted by, and what it is shown. `None`: plain text.
    pub tls: Option<ClientTlsConfig>,
    /// Signs the contexts.
    pub key: MeshKey,
    /// Stamps them.
    pub clock: Arc<dyn Clock>,
    /// The target's contracts: what may be repeated, and how long it may take.
    pub registry: Registry,
}

#[derive(Clone)]
pub(super) struct Remote {
    inner: Arc<Inner>,
}

struct Inner {
    labels: HashMap<String, Labels>,
    channel: Channel,
    config: RemoteConfig,
    breaker: Breaker,
    budget: Budget,
}

/// One call, kept so that it can be sent again.
struct Outgoing {
    uri: Uri,
    headers: HeaderMap,
    context: Option<Context>,
    operation: Option<Arc<Operation>>,
    deadline: Option<Instant>,
}

impl Remote {
    pub fn new(config: RemoteConfig) -> Result<Self, tonic::transport::Error> {
        // Without keep-alive a channel stays dead after a partition heals.
        let endpoint = Endpoint::from_shared(config.address.clone())?;
        let endpoint = match config.tls.clone() {
            Some(tls) => endpoint.tls_config(tls)?,
            None => endpoint,
        };
        let channel = endpoint
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(2))
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .connect_lazy();
        let operations = config.registry.operations();
        let labels = operations.map(|op| (op.path.clone(), Labels::of(&op.name))).collect();
        let inner = Inner { labels, channel, config, breaker: Breaker::default(), budget: Budget::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn address(&self) -> &str {
        &self.inner.config.address
    }

    /// Span and duration of a call, retries and all.
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        let begun = Instant::now();
        let path = request.uri().path().to_owned();
        let span = observe::client_span(path.trim_start_matches('/'));
        let response = self.sent(request).instrument(span.clone()).await;
        let code = code_in_head(&response);
        observe::ended(&span, code);
        if let Some(labels) = self.inner.labels.get(&path) {
            observe::sent(labels, code, begun.elapsed());
        }
        response
    }

    async fn sent(&self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let operation = self.inner.config.registry.operation(parts.uri.path()).cloned();
        let context = parts.extensions.remove::<Context>();
        let callers = context.as_ref().and_then(Context::deadline);
        let own = operation.as_ref().and_then(|op| op.deadline).map(|d| Instant::now() + d);
        let deadline = earlier(callers, own);
        let call = Outgoing { uri: parts.uri, headers: parts.headers, context, operation, deadline };
        self.inner.budget.deposit();
        if call.repeatable() { self.repeated(&call, body).await } else { self.attempt(&call, body).await }
    }

    async fn repeated(&self, call: &Outgoing, body: Body) -> Response<Body> {
        let most = call.operation.as_ref().map_or(MAX_MESSAGE_BYTES, |operation| operation.max_request);
        let message = match collect(body, most).await {
            Ok(whole) => whole.data,
            Err(fault) => return refusal(fault),
        };
        let mut next = 2;
        loop {
            let response = self.attempt(call, full_body(message.clone(), None)).await;
            if code_in_head(&response) != Code::Unavailable || next > MAX_ATTEMPTS {
                return response;
            }
            let wait = pause(next, random());
            let in_time = call.deadline.is_none_or(|at| Instant::now() + wait < at);
            if !in_time || !self.inner.budget.withdraw() {
                return response;
            }
            sleep(wait).await;
            next += 1;
        }
    }

    async fn attempt(&self, call: &Outgoing, body: Body) -> Response<Body> {
        if let Err(wait) = self.inner.breaker.admit(Instant::now()) {
            let text = format!("{} failed repeatedly and is left alone for a moment", self.address());
            return refusal(Fault::new(&mesh::TARGET_UNAVAILABLE, text).retry_after(wait));
        }
        let request = self.signed(call, body);
        let response = match within(call.deadline, self.send(request)).await {
            Some(response) => response,
            None => refusal(exceeded()),
        };
        self.inner.breaker.report(code_in_head(&response) != Code::Unavailable, Instant::now());
        response
    }

    fn signed(&self, call: &Outgoing, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = call.uri.clone();
        *request.headers_mut() = call.headers.clone();
        if let Some(at) = call.deadline {
            set_grpc_timeout(request.headers_mut(), at.saturating_duration_since(Instant::now()));
        }
        if let Some(context) = &call.context {
            let now = self.inner.config.clock.now();
            self.inner.config.key.sign(call.uri.path(), context, now, request.headers_mut());
        }
        inject_trace(&Span::current(), request.headers_mut());
        request
    }

    async fn send(&self, request: Request<Body>) -> Response<Body> {
        let mut channel = self.inner.channel.clone();
        let sent = async { channel.ready().await?.call(request).await };
        match sent.await {
            Ok(response) => response,
            Err(error) => refusal(self.lost(error)),
        }
    }

    /// Why there was no answer. The channel reads `grpc-timeout` itself and tells its end as a cancellation.
    fn lost(&self, error: tonic::transport::Error) -> Fault {
        let status = Status::from_error(error.into());
        if matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) {
            return exceeded();
        }
        tracing::debug!(target: "runspine::rpc", address = self.address(), %status, "no connection");
        Fault::new(&mesh::TARGET_UNAVAILABLE, format!("{} can't be reached", self.address()))
            .caused_by(status)
    }
}

impl Outgoing {
    /// What writes nothing, or answers a repeat with its first answer.
    fn repeatable(&self) -> bool {
        self.operation.as_ref().is_some_and(|op| {
            op.is_unary() && matches!(op.idempotency, Idempotency::Keyed | Idempotency::NoSideEffects)
        })
    }
}

async fn within<T>(deadline: Option<Instant>, answer: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(at) => timeout_at(at, answer).await.ok(),
        None => Some(answer.await),
    }
}

/// Spreads retries; it need not be unpredictable, so the low bits of a new id do.
fn random() -> u64 {
    let id = runspine_types::new_id();
    id.bytes().rev().take(12).fold(0, |sum: u64, b| sum.wrapping_mul(31).wrapping_add(u64::from(b)))
}
