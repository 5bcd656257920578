//! The mesh under test.

use runspine_e2e::{Mesh, Shape};

/// Time to live of the leases: the shortest that a run may ask for, so that an interrupted run ends soon.
pub const LEASE_MS: u64 = 5_000;

/// A mesh whose waits are as short as its settings allow; everything else is at its default.
#[must_use]
pub fn setup(shape: Shape) -> runspine_e2e::Setup {
    Mesh::setup(shape)
        .set("spine.kernel.start_patience_ms", 10_000)
        .set("spine.kernel.drain_ms", 300)
        .set("spine.reconciler.poll_ms", 300)
}
