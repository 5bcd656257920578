//! Every service that the spine can reach, by domain.

use std::collections::BTreeMap;

use crate::{Stack, Transport};

/// The ways to the domains: some in this process, some elsewhere. The spine gets one, and makes its clients from it.
#[derive(Debug, Clone, Default)]
pub struct Mesh {
    ways: BTreeMap<String, Transport>,
}

impl Mesh {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a service of this process.
    #[must_use]
    pub fn local(self, stack: &Stack) -> Self {
        self.with(stack.name(), Transport::local(stack))
    }

    /// Adds a way to the domain `name`.
    #[must_use]
    pub fn with(mut self, name: &str, way: Transport) -> Self {
        self.ways.insert(name.to_owned(), way);
        self
    }

    /// The way to a domain.
    #[must_use]
    pub fn get(&self, domain: &str) -> Option<&Transport> {
        self.ways.get(domain)
    }

    /// The domains that can be reached, in order.
    pub fn domains(&self) -> impl Iterator<Item = &str> + '_ {
        self.ways.keys().map(String::as_str)
    }

    /// Calls refused on any way because nobody declared them.
    #[must_use]
    pub fn undeclared_calls(&self) -> u64 {
        self.ways.values().map(Transport::undeclared_calls).sum()
    }
}
