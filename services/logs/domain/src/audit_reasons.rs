//! Why the audit half of the domain refuses: contracts, ledger, evidence, dispatch records.

runspine_errors::reasons! { "logs.runspine";
    /// No such contract for this tenant.
    NotFound: CONTRACT_NOT_FOUND;
    /// No such ledger entry for this tenant.
    NotFound: ENTRY_NOT_FOUND;
    /// The contract promises no such action.
    NotFound: EXPECTATION_NOT_FOUND;
    /// Another intent of this kind was first; the metadata says which.
    Conflict: INTENT_EXISTS;
    /// The contract was judged for good and takes no more orders.
    Precondition: CONTRACT_CLOSED;
    /// The contract of a run is closed by the seal of its trace only.
    Precondition: CONTRACT_NOT_SEALED;
    /// A deadline can be moved on, never before the original one.
    Precondition: DEADLINE_BACKWARD;
    /// ROLLED_BACK needs an earlier SUCCESS.
    Precondition: ACK_ORDER;
    /// Status and error of an acknowledgement exclude each other, or the action can't be NOT_APPLICABLE.
    Invalid: ACK_CONTRADICTORY;
    /// The claim's time is over or somebody else claimed the contract; the metadata holds the fence in force.
    Aborted: STALE_FENCE;
    /// The contract is not parked.
    Precondition: CONTRACT_NOT_PARKED;
    /// An entry of scope RUN names no run.
    Invalid: RUN_ID_REQUIRED;
    /// A digest is not 32 bytes long.
    Invalid: DIGEST_LENGTH;
    /// The record is larger than the store takes.
    Invalid: RECORD_TOO_LARGE;
    /// The tenant has as many watches open as it may.
    Exhausted: TOO_MANY_STREAMS;
    /// The watcher did not take a message for 60 s; the metadata says where to resume.
    Exhausted: SLOW_CONSUMER;
}
