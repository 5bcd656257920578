//! Links: each covers the bytes of its item and, through the link before it, everything earlier.

use runspine_types::{Digest, Hasher};

/// Link of a trace's header: `link_0`.
#[must_use]
pub fn trace_start(header: &[u8]) -> Digest {
    Hasher::new("runspine.trace.v1").sized(header).finish()
}

/// Link of the record after `previous`.
#[must_use]
pub fn trace_link(previous: &Digest, record: &[u8]) -> Digest {
    Hasher::new("runspine.step.v1").fixed(previous.as_bytes()).sized(record).finish()
}

/// Start of an audit contract's chain: `contract_0`.
#[must_use]
pub fn contract_start(tenant_id: &str, saga: &str, subject_id: &str, attempt: u32) -> Digest {
    let key = format!("{tenant_id}/{saga}/{subject_id}/{attempt}");
    Hasher::new("runspine.contract.v1").sized(key.as_bytes()).finish()
}

/// Link of the contract entry after `previous`.
#[must_use]
pub fn contract_link(previous: &Digest, entry: &[u8]) -> Digest {
    Hasher::new("runspine.contract_entry.v1").fixed(previous.as_bytes()).sized(entry).finish()
}

/// Start of a tenant's ledger: `ledger_0`.
#[must_use]
pub fn ledger_start(tenant_id: &str) -> Digest {
    Hasher::new("runspine.ledger.v1").sized(tenant_id.as_bytes()).finish()
}

/// Link of the ledger entry after `previous`.
#[must_use]
pub fn ledger_link(previous: &Digest, entry: &[u8]) -> Digest {
    Hasher::new("runspine.entry.v1").fixed(previous.as_bytes()).sized(entry).finish()
}

/// Start of the evidence of an attempt: `evidence_0`.
#[must_use]
pub fn evidence_start(tenant_id: &str, run_id: &str, attempt: u32) -> Digest {
    let key = format!("{tenant_id}/{run_id}/{attempt}");
    Hasher::new("runspine.evidence.v1").sized(key.as_bytes()).finish()
}

/// Link of the evidence item after `previous`.
#[must_use]
pub fn evidence_link(previous: &Digest, item: &[u8]) -> Digest {
    Hasher::new("runspine.evidence_item.v1").fixed(previous.as_bytes()).sized(item).finish()
}

/// Digest of an input or output as the agent sent it, salted per run.
#[must_use]
pub fn payload_digest(salt: &[u8], payload: &[u8]) -> Digest {
    Hasher::new("runspine.payload.v1").fixed(salt).sized(payload).finish()
}

/// Digest of a step's parameters in canonical JSON, keyed per tenant.
#[must_use]
pub fn parameters_digest(key: &[u8], canonical_json: &[u8]) -> Digest {
    Hasher::new("runspine.params.v1").fixed(key).sized(canonical_json).finish()
}

/// What a trace's header says of its salt, so that the salt can be checked while it exists and erased later.
#[must_use]
pub fn salt_commitment(salt: &[u8]) -> Digest {
    Hasher::new("runspine.salt.v1").fixed(salt).finish()
}

/// Digest of a ledger state in canonical JSON, salted per entry.
#[must_use]
pub fn state_digest(salt: &[u8], state: &[u8]) -> Digest {
    Hasher::new("runspine.state.v1").fixed(salt).sized(state).finish()
}

/// Digest of the facts that a policy decision was made on.
#[must_use]
pub fn policy_facts_digest(inputs: &[u8]) -> Digest {
    Hasher::new("runspine.policyinput.v1").sized(inputs).finish()
}

/// Digest of the facts that a controls decision was made on.
#[must_use]
pub fn control_facts_digest(inputs: &[u8]) -> Digest {
    Hasher::new("runspine.controlinput.v1").sized(inputs).finish()
}

/// What identifies the content of an item whatever key it came under.
#[must_use]
pub fn content_digest(item: &[u8]) -> Digest {
    Hasher::new("runspine.content.v1").sized(item).finish()
}
