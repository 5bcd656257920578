//! The door: every call of a client enters the mesh here, and nowhere else.
//!
//! Order of the checks, each with its own refusal: drain and load → the operation is known and open to clients → the
//! credential → authority → freezes → rate → deadline, size and key → served here or forwarded as bytes → recorded → answered.

mod alias;
mod authority;
mod catalogue;
mod config;
mod contracts;
mod directory;
mod dispatch;
mod forward;
mod frozen;
mod inbound;
pub mod issue;
mod key;
mod key_file;
mod rate;
pub mod reasons;
mod record;
mod roles;
mod tally;
mod watch;
mod zipped;

#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use http::{Request, Response};
use runspine_boot::{BootError, CancellationToken, Deps};
use runspine_errors::{Fault, mesh as shared};
use runspine_rpc::{
    Admission, Body, Call, Front, Limits, Mesh, Operation, Registry, Stack, arrival_span, code_in_head,
    ended, refusal,
};
use tracing::{Instrument, Span};

pub use self::{
    authority::{Caller, also},
    catalogue::Catalogue,
    config::DoorConfig,
    contracts::{CONTRACTS, registry},
    directory::{Directory, Identity},
    dispatch::{DispatchSink, Dispatches, LogsSink},
    key_file::DevelopmentKey,
    roles::{holds, role_patterns},
};
use crate::kernel::FreezeView;

use self::{dispatch::Recording, inbound::Arrival, rate::Rates};

/// The single entry of the mesh. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    own: Stack,
    mesh: Mesh,
    directory: Directory,
    rates: Rates,
    catalogue: Catalogue,
    dispatches: Dispatches,
    admission: Admission,
    draining: AtomicBool,
    counters: Counters,
    freezes: Arc<FreezeView>,
    /// The most bytes of a request whose contract allows more than usual.
    most_bytes: usize,
    deps: Deps,
}

/// What the door refused before it knew who called.
#[derive(Debug, Default)]
struct Counters {
    unauthenticated: AtomicU64,
    unknown: AtomicU64,
    last_told_s: AtomicU64,
}

impl Door {
    /// Opens the door before the spine's own services (`own`) and the domains of `mesh`. `catalogue` is the one whose
    /// server is among the spine's routes, `most_bytes` what a request may have whose contract allows more than usual,
    /// `freezes` what this replica knows of them. The data folder gets a key file with a development key when it has none.
    ///
    /// # Errors
    /// When the key file can't be read or made.
    pub async fn open(
        (config, most_bytes): (&DoorConfig, usize),
        deps: &Deps,
        own: &Stack,
        mesh: &Mesh,
        catalogue: Catalogue,
        freezes: Arc<FreezeView>,
        sink: Arc<dyn DispatchSink>,
    ) -> Result<(Self, Option<DevelopmentKey>), BootError> {
        let (directory, made) = Directory::open(&deps.data, Arc::clone(&deps.clock)).await?;
        catalogue.fill(own, mesh, Arc::clone(&deps.clock));
        let inner = Inner {
            registry: own.registry().clone(),
            own: own.clone(),
            mesh: mesh.clone(),
            directory,
            rates: Rates::new(config, Arc::clone(&deps.clock)),
            catalogue,
            dispatches: Dispatches::new(sink),
            admission: Admission::new(Limits { in_flight: config.inflight }),
            draining: AtomicBool::new(false),
            counters: Counters::default(),
            freezes,
            most_bytes,
            deps: deps.clone(),
        };
        Ok((Self { inner: Arc::new(inner) }, made))
    }

    /// The door's own work: rereads the key file when it changes and writes dispatch records. Ends when stopped, after
    /// everything waiting has been written.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(self.inner.directory.watch(stop.clone()), self.inner.dispatches.run(stop));
    }

    /// Calls refused because their credential was not good.
    #[must_use]
    pub fn unauthenticated_calls(&self) -> u64 {
        self.inner.counters.unauthenticated.load(Ordering::Relaxed)
    }

    /// Calls for operations that don't exist.
    #[must_use]
    pub fn unknown_calls(&self) -> u64 {
        self.inner.counters.unknown.load(Ordering::Relaxed)
    }
}

impl Front for Door {
    fn call(&self, request: Request<Body>) -> Call {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.observed(alias::resolved(request)).await })
    }

    fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }
}

impl Inner {
    /// The span that everything a client asks for is a part of, and itself a part of the client's trace.
    async fn observed(&self, request: Request<Body>) -> Response<Body> {
        let operation = self.registry.operation(request.uri().path()).cloned();
        let span = operation.as_ref().map_or_else(Span::none, |op| arrival_span(op, request.headers()));
        let answer = self.answer(operation, request);
        if span.is_disabled() {
            return answer.await;
        }
        let response = answer.instrument(span.clone()).await;
        ended(&span, code_in_head(&response));
        response
    }

    async fn answer(&self, operation: Option<Arc<Operation>>, request: Request<Body>) -> Response<Body> {
        let begun = Instant::now();
        if self.draining.load(Ordering::Acquire) {
            return refusal(Fault::new(&shared::DRAINING, "the mesh is shutting down"));
        }
        let _permit = match self.admission.enter() {
            Ok(permit) => permit,
            Err(fault) => return refusal(fault),
        };
        let caller = self.directory.resolve(request.headers());
        let Some(operation) = operation else {
            let path = request.uri().path().to_owned();
            drop(request);
            return self.unknown(&path, caller.ok(), begun).await;
        };
        match caller {
            Ok(caller) => {
                self.known(&operation, Arrival::new(self, &operation, caller, begun), request).await
            }
            // An operation that clients can't reach is refused as such to everybody, before any credential.
            Err(fault) => {
                let fault = authority::exposed(&operation).err().unwrap_or(fault);
                self.unauthenticated(&operation, fault)
            }
        }
    }

    async fn known(
        &self,
        operation: &Arc<Operation>,
        arrival: Arrival,
        request: Request<Body>,
    ) -> Response<Body> {
        let recording = Recording::of(operation);
        let allowed = authority::exposed(operation)
            .and_then(|()| authority::decide(operation, &arrival.caller))
            .and_then(|()| frozen::decide(&self.freezes, operation, &arrival.caller, self.deps.clock.now()))
            .and_then(|()| self.rates.admit(operation, &arrival.caller));
        let response = match allowed {
            Ok(()) => self.serve(operation, arrival, request, recording).await,
            Err(fault) => self.refused(&arrival, fault).await,
        };
        self.catalogue.count(operation, &response);
        response
    }

    /// Refuses an authenticated caller, with a record of it.
    async fn refused(&self, arrival: &Arrival, fault: Fault) -> Response<Body> {
        let record = record::refused(arrival, &fault);
        self.recorded(record, refusal(fault)).await
    }

    /// Durable first, then the answer.
    async fn recorded(&self, record: dispatch::Record, response: Response<Body>) -> Response<Body> {
        match self.dispatches.durably(record).await {
            Ok(()) => response,
            Err(fault) => refusal(fault),
        }
    }

    async fn unknown(&self, path: &str, caller: Option<Arc<Identity>>, begun: Instant) -> Response<Body> {
        self.counters.unknown.fetch_add(1, Ordering::Relaxed);
        let fault = Fault::new(&shared::UNKNOWN_OPERATION, format!("no operation {path} is served here"));
        let Some(caller) = caller else { return refusal(fault) };
        let record = record::unknown(self, path, &caller, &fault, begun);
        self.recorded(record, refusal(fault)).await
    }

    /// Counted and told at most once a second: what anybody can cause must not fill a disk.
    fn unauthenticated(&self, operation: &Operation, fault: Fault) -> Response<Body> {
        let total = self.counters.unauthenticated.fetch_add(1, Ordering::Relaxed) + 1;
        let second = u64::try_from(self.deps.clock.now().0 / 1_000_000).unwrap_or(0);
        if self.counters.last_told_s.swap(second, Ordering::Relaxed) != second {
            let reason = fault.reason().name;
            tracing::warn!(
                operation = operation.name,
                reason,
                total,
                "a call without a good credential was refused"
            );
        }
        let response = refusal(fault);
        self.catalogue.count(operation, &response);
        response
    }
}
