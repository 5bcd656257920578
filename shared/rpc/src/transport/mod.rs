//! How the spine reaches a service: in process or over the network, behind one concrete type.

mod breaker;
mod remote;
mod retry;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context as TaskContext, Poll},
};

use http::{Request, Response};
use tower::Service;

use self::remote::Remote;
pub use self::remote::RemoteConfig;
use crate::{Body, Context, Stack, refusal, routes::Answer, stack::undeclared};

/// A way to one service, for generated clients: `XClient::new(transport.clone())`. Cheap to clone.
///
/// Each request must carry a [`Context`] (`context.request(message)` attaches it). A call that the operation being
/// served did not declare is refused before it leaves, and counted.
#[derive(Clone)]
pub struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    way: Way,
    undeclared: AtomicU64,
}

enum Way {
    Local(Stack),
    Remote(Remote),
}

impl Transport {
    /// Calls the composed stack in this process.
    #[must_use]
    pub fn local(stack: &Stack) -> Self {
        Self::over(Way::Local(stack.clone()))
    }

    /// Calls another process; the connection is made with the first call.
    ///
    /// # Errors
    /// When the address is no URI, or the certificates can't be used.
    pub fn remote(config: RemoteConfig) -> Result<Self, tonic::transport::Error> {
        Ok(Self::over(Way::Remote(Remote::new(config)?)))
    }

    fn over(way: Way) -> Self {
        Self { inner: Arc::new(Inner { way, undeclared: AtomicU64::new(0) }) }
    }

    /// Calls refused because nobody declared them. More than 0 is a defect.
    #[must_use]
    pub fn undeclared_calls(&self) -> u64 {
        self.inner.undeclared.load(Ordering::Relaxed)
    }

    /// The stack behind it, when it is in this process.
    #[must_use]
    pub fn stack(&self) -> Option<&Stack> {
        match &self.inner.way {
            Way::Local(stack) => Some(stack),
            Way::Remote(_) => None,
        }
    }

    fn refuse_undeclared(&self, request: &Request<Body>) -> Option<Response<Body>> {
        let context = request.extensions().get::<Context>()?;
        let name = request.uri().path().trim_start_matches('/');
        if context.may_call(name) {
            return None;
        }
        self.inner.undeclared.fetch_add(1, Ordering::Relaxed);
        Some(refusal(undeclared(context, name)))
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        if let Some(refused) = self.refuse_undeclared(&request) {
            return Box::pin(std::future::ready(Ok(refused)));
        }
        match &self.inner.way {
            Way::Local(stack) => Service::call(&mut stack.clone(), request),
            Way::Remote(remote) => {
                let remote = remote.clone();
                Box::pin(async move { Ok(remote.call(request).await) })
            }
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.inner.way {
            Way::Local(stack) => write!(f, "Transport::Local({})", stack.name()),
            Way::Remote(remote) => write!(f, "Transport::Remote({})", remote.address()),
        }
    }
}
