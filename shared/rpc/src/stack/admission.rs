//! Load shed at a concurrency limit: what is too much is refused at once, so that what was taken is answered in time.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use runspine_errors::{Fault, mesh};

/// How much a stack takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most calls in flight, 2,048 by default. A stream counts until its answer begins.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { in_flight: 2_048 }
    }
}

/// The calls in flight of one entrance.
#[derive(Debug)]
pub struct Admission {
    limit: usize,
    in_flight: AtomicUsize,
}

/// A place among the calls in flight, given back when it is dropped.
#[derive(Debug)]
pub struct Permit<'a>(&'a AtomicUsize);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

impl Admission {
    /// None in flight yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limit: limits.in_flight, in_flight: AtomicUsize::new(0) }
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// A place for one more call.
    ///
    /// # Errors
    /// `OVERLOADED` when there is none.
    pub fn enter(&self) -> Result<Permit<'_>, Fault> {
        let before = self.in_flight.fetch_add(1, Ordering::Acquire);
        let permit = Permit(&self.in_flight);
        if before < self.limit {
            return Ok(permit);
        }
        let text = format!("{} calls are in flight", self.limit);
        Err(Fault::new(&mesh::OVERLOADED, text).retry_after(Duration::from_millis(100)))
    }
}
