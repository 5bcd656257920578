//! Requests about evidence. What was captured is checked by logs.

use contracts_spine::v1::{CaptureRequest, EvidenceSource};
use runspine_errors::Outcome;

use super::{Checks, INVALID};

/// Checks the capture of a piece of evidence.
pub fn capture(r: &CaptureRequest) -> Outcome<()> {
    let mut c = Checks::new();
    c.request(&r.request_id);
    c.run(&r.run_id);
    c.known::<EvidenceSource>("source", r.source);
    let agents = r.source() != EvidenceSource::Reconciler;
    c.0.require(agents, "source", INVALID, "SDK, WORKER or PROVIDER: the mesh speaks for itself");
    c.0.require(r.body.is_some(), "body", INVALID, "one kind of evidence, or the failure to capture it");
    c.done()
}
