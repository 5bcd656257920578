//! Links of a contract's entries.

use runspine_types::{Digest, Hasher};

/// `contract_0`: names the contract.
#[must_use]
pub fn start(tenant_id: &str, saga: &str, subject_id: &str, attempt: u32) -> Digest {
    let key = format!("{tenant_id}/{saga}/{subject_id}/{attempt}");
    Hasher::new("runspine.contract.v1").sized(key.as_bytes()).finish()
}

/// `contract_n` from `contract_{n-1}` and the bytes of entry n.
#[must_use]
pub fn next(previous: &Digest, entry: &[u8]) -> Digest {
    Hasher::new("runspine.contract_entry.v1").fixed(previous.as_bytes()).sized(entry).finish()
}
