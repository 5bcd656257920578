//! The operation registry: the descriptor set with its contract options, read once at start.

mod check;
mod operation;
mod problem;
mod read;

use std::{collections::BTreeMap, sync::Arc};

pub use operation::{EventContract, Operation};
pub use problem::{Problem, RegistryError};
use prost_reflect::DescriptorPool;

/// Every operation and event that the descriptors tell of.
#[derive(Debug, Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: DescriptorPool,
    operations: BTreeMap<String, Arc<Operation>>,
    events: BTreeMap<String, EventContract>,
}

impl Registry {
    /// Reads and checks descriptor sets. `package_prefix` names the packages whose RPCs must have a contract.
    ///
    /// # Errors
    /// With every problem found, not only the first.
    pub fn read(sets: &[&[u8]]) -> Result<Self, RegistryError> {
        Self::read_packages(sets, "runspine.")
    }

    /// Like [`Registry::read`] for packages of another prefix, so that tests can bring their own.
    ///
    /// # Errors
    /// As [`Registry::read`].
    pub fn read_packages(sets: &[&[u8]], package_prefix: &str) -> Result<Self, RegistryError> {
        let found = read::read(sets, package_prefix);
        let mut problems = found.problems;
        problems.extend(check::check(&found.operations, &found.events));
        if !problems.is_empty() {
            return Err(RegistryError::new(problems));
        }
        let by_name = found.operations.into_iter().map(|op| (op.name.clone(), Arc::new(op)));
        let events = found.events.into_iter().map(|e| (e.name.clone(), e));
        let inner = Inner { pool: found.pool, operations: by_name.collect(), events: events.collect() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// An operation by `package.Service/Method`, or by its path with the leading slash.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&Arc<Operation>> {
        self.inner.operations.get(name.strip_prefix('/').unwrap_or(name))
    }

    /// Every operation, by name.
    pub fn operations(&self) -> impl ExactSizeIterator<Item = &Arc<Operation>> + '_ {
        self.inner.operations.values()
    }

    /// The event contract of a name such as `policies.RuleActivated`.
    #[must_use]
    pub fn event(&self, name: &str) -> Option<&EventContract> {
        self.inner.events.get(name)
    }

    /// Every event, by name.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &EventContract> + '_ {
        self.inner.events.values()
    }

    /// The descriptors, for whoever has to read a message that it was not compiled with.
    #[must_use]
    pub fn descriptors(&self) -> &DescriptorPool {
        &self.inner.pool
    }

    /// A worker of the spine as an operation of its own, `worker:<name>`, which may call what it declares. Workers act
    /// under `Context::serving(&worker, …)` just as the door does for a client's call.
    ///
    /// # Errors
    /// With every declared call that does not exist.
    pub fn worker(&self, name: &str, calls: &[&str]) -> Result<Arc<Operation>, RegistryError> {
        let missing = calls.iter().filter(|c| self.operation(c).is_none());
        let subject = format!("worker:{name}");
        let problems: Vec<_> = missing
            .map(|c| {
                Problem::new(&subject, Problem::CALL_UNKNOWN, format!("declares {c}, which does not exist"))
            })
            .collect();
        if !problems.is_empty() {
            return Err(RegistryError::new(problems));
        }
        Ok(Arc::new(Operation::worker(subject, calls)))
    }
}
