//! Who calls, for whom, and until when: beside every call, never in a request.

use std::{ops::Deref, sync::Arc};

use contracts_common::common::v1::CallContext;
use runspine_errors::{Fault, mesh};
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::{Operation, status};

/// The context of a call. Cheap to clone; reads as a [`CallContext`].
///
/// In process it travels as an extension of the request, which nothing from the network can set; between processes it
/// is signed. Handlers get it with [`context`] and never look for a tenant or an actor anywhere else.
#[derive(Debug, Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    call: CallContext,
    operation: Option<Arc<Operation>>,
    deadline: Option<Instant>,
}

impl Deref for Context {
    type Target = CallContext;
    fn deref(&self) -> &CallContext {
        &self.inner.call
    }
}

impl Context {
    /// A context under which `operation` is served: it may call what that operation declares, and nothing else.
    #[must_use]
    pub fn serving(operation: &Arc<Operation>, mut call: CallContext, deadline: Option<Instant>) -> Self {
        operation.name.clone_into(&mut call.operation);
        Self { inner: Arc::new(Inner { call, operation: Some(Arc::clone(operation)), deadline }) }
    }

    /// A context that came over the network: it may call nothing.
    pub(crate) fn received(call: CallContext, deadline: Option<Instant>) -> Self {
        Self { inner: Arc::new(Inner { call, operation: None, deadline }) }
    }

    /// Until when the caller waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.deadline
    }

    /// The operation being served, on the side that may call others.
    #[must_use]
    pub fn operation(&self) -> Option<&Arc<Operation>> {
        self.inner.operation.as_ref()
    }

    /// `message` as a request under this context: how a bridge calls.
    #[must_use]
    pub fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.extensions_mut().insert(self.clone());
        request
    }

    /// The same context with other words, e.g. the run that it turned out to be about.
    #[must_use]
    pub fn with(&self, change: impl FnOnce(&mut CallContext)) -> Self {
        let mut inner = (*self.inner).clone();
        change(&mut inner.call);
        Self { inner: Arc::new(inner) }
    }

    /// The same context for `run_id`.
    #[must_use]
    pub fn for_run(&self, run_id: &str) -> Self {
        self.with(|call| run_id.clone_into(&mut call.run_id))
    }

    /// The same context with another deadline; `None` for work that outlives the call, such as a saga's recovery.
    #[must_use]
    pub fn until(&self, deadline: Option<Instant>) -> Self {
        let mut inner = (*self.inner).clone();
        inner.deadline = deadline;
        Self { inner: Arc::new(inner) }
    }

    /// Whether this context may call `name` (`package.Service/Method`): the operation itself, when it is forwarded, or
    /// a call that the operation declares.
    #[must_use]
    pub fn may_call(&self, name: &str) -> bool {
        self.inner.operation.as_ref().is_some_and(|op| op.name == name || op.calls.contains(name))
    }
}

/// The context of a request that the stack let through.
///
/// # Errors
/// INTERNAL when the handler was reached without the stack: a defect of the composition.
pub fn context<T>(request: &Request<T>) -> Result<Context, Status> {
    request.extensions().get::<Context>().cloned().ok_or_else(|| {
        status(Fault::new(&mesh::INTERNAL, "a handler was called without a context, so round the stack"))
    })
}
