//! Payloads: how what is stored of them is named, and whom they are about.

use runspine_types::{Digest, Hasher};

/// The reference of a payload: digest of the bytes as they are stored, salted per run.
#[must_use]
pub fn reference(salt: &[u8], stored: &[u8]) -> Digest {
    Hasher::new("runspine.stored.v1").fixed(salt).sized(stored).finish()
}

/// What is kept of the tag of a person, keyed per tenant.
#[must_use]
pub fn subject(parameter_key: &[u8], tag: &str) -> Digest {
    Hasher::new("runspine.subject.v1").fixed(parameter_key).sized(tag.as_bytes()).finish()
}

/// What the encryption of a payload is bound to: it can be read in no other place.
#[must_use]
pub fn bound_to(tenant_id: &str, run_id: &str, reference: &Digest) -> Vec<u8> {
    [tenant_id.as_bytes(), run_id.as_bytes(), reference.as_bytes()].concat()
}
