//! The operations of `RunService`, for those who serve them inside another call: a frame of a stream and a step of a
//! replay are each served under the declared calls of the operation that they stand for.

use std::sync::{Arc, OnceLock};

use runspine_errors::{Fault, Outcome, mesh};
use runspine_rpc::{Context, Operation, Registry};

/// The operations, known once the spine's stack is composed. Cheap to clone.
#[derive(Clone, Default)]
pub struct RunOperations {
    bound: Arc<OnceLock<Bound>>,
}

/// One operation each.
pub(crate) struct Bound {
    pub start: Arc<Operation>,
    pub authorize: Arc<Operation>,
    pub record: Arc<Operation>,
    pub renew: Arc<Operation>,
    pub complete: Arc<Operation>,
}

impl RunOperations {
    /// Takes the operations from the registry; false when it lacks one.
    #[must_use]
    pub fn bind(&self, registry: &Registry) -> bool {
        let find = |name: &str| registry.operation(&format!("/runspine.spine.v1.RunService/{name}")).cloned();
        let found = || {
            Some(Bound {
                start: find("StartRun")?,
                authorize: find("AuthorizeStep")?,
                record: find("RecordStep")?,
                renew: find("RenewLease")?,
                complete: find("CompleteRun")?,
            })
        };
        found().is_some_and(|operations| self.bound.set(operations).is_ok())
    }

    /// The operations.
    ///
    /// # Errors
    /// INTERNAL before they are bound: a defect of the composition.
    pub(crate) fn get(&self) -> Outcome<&Bound> {
        self.bound.get().ok_or_else(|| Fault::new(&mesh::INTERNAL, "the run's operations are not bound"))
    }
}

/// The context under which `operation` is served inside the call of `context`: no longer than either may take.
pub(crate) fn inside(context: &Context, operation: &Arc<Operation>) -> Context {
    let own = operation.deadline.map(|time| tokio::time::Instant::now() + time);
    let deadline = [own, context.deadline()].into_iter().flatten().min();
    Context::serving(operation, (**context).clone(), deadline)
}
