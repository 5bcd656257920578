//! A service as a value.

use std::{future::Future, sync::Arc};

use futures::future::BoxFuture;
use runspine_errors::Fault;
use runspine_rpc::{Front, Routes, Stack};
use tokio_util::sync::CancellationToken;

use crate::{BootError, Deps};

/// Tells whether a service can do its work, e.g. whether its store answers.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Fault>> + Send + Sync>;

pub(crate) struct Worker {
    pub name: String,
    pub run: Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>,
}

pub(crate) struct StopHook {
    pub name: String,
    pub run: Box<dyn FnOnce() -> BoxFuture<'static, Result<(), Fault>> + Send>,
}

/// A domain ready to be served: its composed stack, and what lives and dies with it.
pub struct Service {
    /// The domain's name.
    pub name: String,
    /// The composed services: `Mesh::local(&service.stack)` lets the spine call it in process.
    pub stack: Stack,
    pub(crate) descriptors: Vec<&'static [u8]>,
    pub(crate) front: Option<Arc<dyn Front>>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) probes: Vec<(String, Probe)>,
    pub(crate) on_stop: Vec<StopHook>,
}

impl Service {
    /// A domain's service: `Service::new("logs", contracts_logs::DESCRIPTORS, Routes::new().add(…), deps)`.
    ///
    /// # Errors
    /// With everything wrong in the contracts of its operations.
    pub fn new(
        name: &str,
        descriptors: &'static [u8],
        routes: &Routes,
        deps: &Deps,
    ) -> Result<Self, BootError> {
        Self::with_descriptors(name, &[descriptors], routes, deps)
    }

    /// A service whose contracts name RPCs of other packages: the spine.
    ///
    /// # Errors
    /// As [`Service::new`].
    pub fn with_descriptors(
        name: &str,
        descriptors: &[&'static [u8]],
        routes: &Routes,
        deps: &Deps,
    ) -> Result<Self, BootError> {
        let sets: Vec<&[u8]> = descriptors.to_vec();
        let stack = Stack::compose(name, &sets, routes, deps.stack.clone())?;
        Ok(Self {
            name: name.to_owned(),
            stack,
            descriptors: descriptors.to_vec(),
            front: None,
            workers: Vec::new(),
            probes: Vec::new(),
            on_stop: Vec::new(),
        })
    }

    /// Serves the network by `front` instead of the stack itself: the spine's door.
    #[must_use]
    pub fn front(mut self, front: Arc<dyn Front>) -> Self {
        self.front = Some(front);
        self
    }

    /// Adds work that runs beside the calls until the token is cancelled. One that ends before stops the process.
    #[must_use]
    pub fn worker<F, W>(mut self, name: &str, run: F) -> Self
    where
        F: FnOnce(CancellationToken) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let name = format!("{}/{name}", self.name);
        self.workers.push(Worker { name, run: Box::new(move |stop| Box::pin(run(stop))) });
        self
    }

    /// Adds a condition of readiness, asked every second.
    #[must_use]
    pub fn probe<F, P>(mut self, name: &str, ask: F) -> Self
    where
        F: Fn() -> P + Send + Sync + 'static,
        P: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        self.probes.push((format!("{}/{name}", self.name), Arc::new(move || Box::pin(ask()))));
        self
    }

    /// Adds what is done after the last call, e.g. flushing the group commit and closing the store.
    #[must_use]
    pub fn on_stop<F, S>(mut self, name: &str, run: F) -> Self
    where
        F: FnOnce() -> S + Send + 'static,
        S: Future<Output = Result<(), Fault>> + Send + 'static,
    {
        let name = format!("{}/{name}", self.name);
        self.on_stop.push(StopHook { name, run: Box::new(move || Box::pin(run())) });
        self
    }
}
