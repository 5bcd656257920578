//! The gRPC services of one domain, found by name with one look-up.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::server::NamedService;
use tower::Service;

use crate::Body;

/// What the future of a generated server resolves to.
pub(crate) type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

pub(crate) trait Handler: Send + Sync {
    fn handle(&self, request: Request<Body>) -> Answer;
}

impl<S> Handler for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>
        + Clone
        + Send
        + Sync,
{
    fn handle(&self, request: Request<Body>) -> Answer {
        // A generated server is an `Arc` and a few settings: the clone is what tonic's own router does too.
        self.clone().call(request)
    }
}

/// The services that a domain serves. A generated server is added as it is: `Routes::new().add(XServer::new(x))`.
#[derive(Clone, Default)]
pub struct Routes {
    services: BTreeMap<&'static str, Arc<dyn Handler>>,
}

impl Routes {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a generated server. Its limit for a message is tonic's default, 4 MiB, the same as the mesh's.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "routes are added to, not summed")]
    pub fn add<S>(mut self, server: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
    {
        self.services.insert(S::NAME, Arc::new(server));
        self
    }

    /// Full names of the services, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.services.keys().copied()
    }

    pub(crate) fn get(&self, service: &str) -> Option<Arc<dyn Handler>> {
        self.services.get(service).cloned()
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
