//! Why the spine refuses a call. Each has a page under `docs/errors/spine/`.

runspine_errors::reasons! { "spine.runspine";
    /// No run with this id exists for the tenant.
    NotFound: RUN_NOT_FOUND;
    /// The run has no such attempt.
    NotFound: ATTEMPT_NOT_FOUND;
    /// The tenant has no audit contract of this saga, subject and attempt.
    NotFound: CONTRACT_NOT_FOUND;
    /// The parent run does not exist for the tenant, or has ended.
    NotFound: PARENT_NOT_FOUND;
    /// A run may spawn runs to a depth of 8.
    Invalid: DELEGATION_TOO_DEEP;
    /// `ask` does not follow the answer that was given before.
    Invalid: ASK_INVALID;
    /// The attempt already ends with another outcome, which is given.
    Conflict: COMPLETION_EXISTS;
    /// A newer lease exists; this holder may no longer move the run.
    Aborted: STALE_FENCE;
    /// Somebody else moved the run at the same moment; read it again.
    Aborted: SEQUENCE_MOVED;
    /// Another stream took over the run.
    Aborted: STREAM_SUPERSEDED;
    /// The attempt has ended or is ending.
    Precondition: RUN_ENDED;
    /// A violation is reported with what shows it.
    Invalid: EVIDENCE_REQUIRED;
    /// Nobody has said yet how the attempt ends.
    Precondition: RUN_NOT_ENDING;
    /// The run is not paused.
    Precondition: RUN_NOT_PAUSED;
    /// The run can't be claimed: somebody holds it, or it does not wait for a holder.
    Precondition: RUN_NOT_CLAIMABLE;
    /// The mesh knows its agents, and this one is not among them.
    Precondition: AGENT_UNKNOWN;
    /// The lease lapsed; the reconciler ends the run.
    Precondition: LEASE_LAPSED;
    /// The phase machine has no such move.
    Precondition: PHASE_TRANSITION_INVALID;
    /// STRICT: no decision allowed this step.
    Precondition: STEP_NOT_AUTHORIZED;
    /// STRICT: an index before this one has no step.
    Precondition: STEP_GAP;
    /// A try after the last one of its step, or after an unknown outcome.
    Precondition: STEP_FINAL;
    /// STRICT: an outcome is unknown; resolve it or accept it.
    Precondition: AMBIGUOUS_UNRESOLVED;
    /// No attempt of the run is left.
    Precondition: ATTEMPTS_EXHAUSTED;
    /// The pause has reached its deadline.
    Precondition: PAUSE_EXPIRED;
    /// Only a sealed attempt whose proof is VERIFIED is replayed.
    Precondition: REPLAY_SOURCE_UNPROVEN;
    /// The replay was ended, or its time is over.
    Precondition: REPLAY_CLOSED;
    /// Only the credential that started the run, or one of the same agent and owner, may work on it.
    Denied: RUN_NOT_YOURS;
    /// The caller has no authority over any reason that the run is paused for.
    Denied: RESUME_NOT_AUTHORIZED;
    /// The record can't be stored; nothing was decided.
    Unavailable: RECORD_UNAVAILABLE;
    /// Nothing is known to decide on.
    Unavailable: DECISION_UNAVAILABLE;
    /// A source of the evidence did not answer.
    Unavailable: SOURCES_INCOMPLETE;
}
