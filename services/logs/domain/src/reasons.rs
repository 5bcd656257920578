//! Every reason for which `logs` refuses. Each has a page under `docs/errors/logs/`.

runspine_errors::reasons! { "logs.runspine";
    /// No such trace for this tenant.
    NotFound: TRACE_NOT_FOUND;
    /// No such audit contract for this tenant.
    NotFound: CONTRACT_NOT_FOUND;
    /// The contract promises no such action.
    NotFound: EXPECTATION_NOT_FOUND;
    /// No such ledger entry for this tenant.
    NotFound: ENTRY_NOT_FOUND;
    /// No such checkpoint of this log.
    NotFound: CHECKPOINT_NOT_FOUND;
    /// No such record on the trace.
    NotFound: RECORD_NOT_FOUND;
    /// No such payload for this tenant.
    NotFound: PAYLOAD_NOT_FOUND;
    /// No such certificate for this tenant.
    NotFound: CERTIFICATE_NOT_FOUND;
    /// No such export for this tenant.
    NotFound: EXPORT_NOT_FOUND;
    /// No such key ever signed here.
    NotFound: KEY_NOT_FOUND;
    /// No such mismatch for this tenant.
    NotFound: MISMATCH_NOT_FOUND;
    /// No such replay for this tenant.
    NotFound: REPLAY_NOT_FOUND;
    /// The step, decision, call or position already holds another truth.
    Conflict: STEP_CONFLICT;
    /// The contract already has an intent of this kind with another payload.
    Conflict: INTENT_EXISTS;
    /// The trace is sealed; late facts go to an addendum.
    Precondition: TRACE_SEALED;
    /// The attempt before this one has no sealed trace.
    Precondition: PREVIOUS_ATTEMPT_OPEN;
    /// The step index skips one that is not on the trace, under STRICT.
    Precondition: STEP_GAP;
    /// The try skips one that is not on the trace.
    Precondition: RETRY_GAP;
    /// The step already ended.
    Precondition: STEP_FINAL;
    /// The last try of the step is ambiguous and was not settled.
    Precondition: STEP_AMBIGUOUS;
    /// The step names a decision that is not on the trace.
    Precondition: DECISION_UNKNOWN;
    /// The trace holds as many records as it may.
    Precondition: TRACE_FULL;
    /// The contract has no completion intent.
    Precondition: INTENT_MISSING;
    /// The PRE_FINALIZE reconciliation is not clean.
    Precondition: CONTRACT_INCOMPLETE;
    /// The key signs now; another has to take its place first.
    Precondition: KEY_ACTIVE;
    /// The contract is closed.
    Precondition: CONTRACT_CLOSED;
    /// The trace is not sealed.
    Precondition: NOT_SEALED;
    /// A log no longer continues what was signed; nothing is signed.
    Precondition: CHECKPOINT_INCONSISTENT;
    /// No witness of this name and key is configured.
    Precondition: WITNESS_UNKNOWN;
    /// The checkpoint has as many cosignatures as it may.
    Precondition: TOO_MANY_WITNESSES;
    /// A report would lack required fields.
    Precondition: EXPORT_INCOMPLETE;
    /// The export was not made, or not yet.
    Precondition: EXPORT_NOT_READY;
    /// The export does not wait for parts: it was made, or given up.
    Precondition: EXPORT_CLOSED;
    /// The content of the export is not kept any more.
    Precondition: EXPORT_EXPIRED;
    /// The records of the trace were dropped; its bundle has them.
    Precondition: TRACE_PURGED;
    /// Something that is to be dropped is held, not archived, or its bundle does not verify.
    Precondition: RETENTION_REFUSED;
    /// The run does not pass its proof.
    Precondition: PROOF_NOT_VERIFIED;
    /// The mismatch was explained before.
    Precondition: MISMATCH_RESOLVED;
    /// The replay was ended, by its caller or by its timeout.
    Precondition: REPLAY_CLOSED;
    /// The replay did not end in PARITY.
    Precondition: REPLAY_NOT_PARITY;
    /// The attempt has more steps than a replay takes.
    Precondition: REPLAY_TOO_LONG;
    /// The payload was erased.
    Precondition: PAYLOAD_ERASED;
    /// What would be erased is under a legal hold.
    Precondition: LEGAL_HOLD;
    /// The profile asks for an approval.
    Precondition: APPROVAL_REQUIRED;
    /// A deadline would move before its original.
    Precondition: DEADLINE_BACKWARD;
    /// The action was not acknowledged as done, so it can't be rolled back.
    Precondition: ACK_ORDER;
    /// Another worker has claimed the contract since.
    Aborted: STALE_FENCE;
    /// Something was written to the contract since the caller read it.
    Aborted: HEAD_MOVED;
    /// An event that belongs to a run came without one.
    Invalid: RUN_ID_REQUIRED;
    /// A record is larger than 64 KiB.
    Invalid: RECORD_TOO_LARGE;
    /// A record has no body, or an item no content.
    Invalid: CONTENT_REQUIRED;
    /// The line is no signature over the checkpoint.
    Invalid: COSIGNATURE_INVALID;
    /// A digest is not 32 bytes.
    Invalid: DIGEST_LENGTH;
    /// The watch token was given by another stream.
    Invalid: WATCH_TOKEN_MISMATCH;
    /// The acknowledgement contradicts itself or its contract.
    Invalid: ACK_CONTRADICTORY;
    /// A reader did not take what it asked for; resume at the position given.
    Exhausted: SLOW_CONSUMER;
    /// The tenant has as many exports in the making as it may.
    Exhausted: EXPORT_BUSY;
    /// The tenant has as many open streams as it may.
    Exhausted: TOO_MANY_STREAMS;
    /// The signing key can't be read; nothing was written.
    Unavailable: KEY_UNAVAILABLE;
    /// The store is older than a published checkpoint; nothing is written until that is acknowledged.
    Unavailable: LEDGER_ROLLED_BACK;
}
