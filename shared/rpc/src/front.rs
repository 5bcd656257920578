//! What a listener serves.

use std::{collections::HashMap, sync::Arc};

use http::{Request, Response};

use crate::{
    Body, Call, Routes, Stack,
    routes::Handler,
    stack::{caught, is_open},
};

/// Something that answers calls from the network: a domain's stack, or the spine's door.
pub trait Front: Send + Sync + 'static {
    /// Answers one call.
    fn call(&self, request: Request<Body>) -> Call;
    /// Refuses new calls from now on.
    fn drain(&self);
}

impl Front for Stack {
    fn call(&self, request: Request<Body>) -> Call {
        Self::call(self, request)
    }

    fn drain(&self) {
        Self::drain(self);
    }
}

/// A front with health and reflection before it, which are asked by probes and tools and need no credential.
pub struct OpenFront {
    open: HashMap<&'static str, Arc<dyn Handler>>,
    inner: Arc<dyn Front>,
}

impl OpenFront {
    /// Puts health and reflection, as far as `routes` has them, before `inner`.
    #[must_use]
    pub fn new(routes: &Routes, inner: Arc<dyn Front>) -> Self {
        let open =
            routes.names().filter(|name| is_open(name)).filter_map(|name| Some((name, routes.get(name)?)));
        Self { open: open.collect(), inner }
    }
}

impl Front for OpenFront {
    fn call(&self, request: Request<Body>) -> Call {
        match self.open.get(service_of(&request)) {
            Some(handler) => Box::pin(answered(handler.handle(request))),
            None => self.inner.call(request),
        }
    }

    fn drain(&self) {
        self.inner.drain();
    }
}

async fn answered(answer: crate::routes::Answer) -> Response<Body> {
    caught(answer).await
}

/// Several domains behind one address, each with its own stack: for a process that serves more than one without a door.
pub struct Stacks(Vec<Stack>);

impl Stacks {
    /// Serves all of `stacks`; the first serves what nobody knows, so that the refusal is the usual one.
    #[must_use]
    pub fn new(stacks: Vec<Stack>) -> Self {
        Self(stacks)
    }
}

impl Front for Stacks {
    fn call(&self, request: Request<Body>) -> Call {
        let name = request.uri().path().trim_start_matches('/');
        match self.0.iter().find(|stack| stack.serves(name)).or(self.0.first()) {
            Some(stack) => stack.call(request),
            None => {
                let fault = runspine_errors::Fault::new(
                    &runspine_errors::mesh::UNKNOWN_OPERATION,
                    "nothing is served here",
                );
                Box::pin(std::future::ready(crate::refusal(fault)))
            }
        }
    }

    fn drain(&self) {
        self.0.iter().for_each(Stack::drain);
    }
}

fn service_of(request: &Request<Body>) -> &str {
    request.uri().path().trim_start_matches('/').split('/').next().unwrap_or_default()
}
