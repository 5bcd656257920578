//! Why `activity` refuses something. Each reason has a page in `docs/errors/activity`.

runspine_errors::reasons! { "activity.runspine";
    /// The tenant has no such run.
    NotFound: RUN_NOT_FOUND;
    /// The run has no such attempt.
    NotFound: ATTEMPT_NOT_FOUND;
    /// The attempt has no lease.
    NotFound: LEASE_NOT_FOUND;
    /// The attempt has no such pause.
    NotFound: PAUSE_NOT_FOUND;
    /// The run was made from the same start request, with other values of the mesh: go on from what exists.
    Conflict: RUN_EXISTS;
    /// The phase table has no such move.
    Precondition: ILLEGAL_TRANSITION;
    /// The phase can't have that status.
    Precondition: PHASE_STATUS_MISMATCH;
    /// The attempt has ended.
    Precondition: RUN_TERMINAL;
    /// An attempt ends only with its evaluation and its incident result, through FinishRun.
    Precondition: COMPLETION_EVIDENCE_REQUIRED;
    /// The last attempt did not end in RETRY, or the next number is another.
    Precondition: ATTEMPT_NOT_RETRYABLE;
    /// Every attempt of the run is used.
    Precondition: ATTEMPTS_EXHAUSTED;
    /// The lease is over by the store's clock.
    Precondition: LEASE_LAPSED;
    /// Somebody else holds a live lease.
    Precondition: LEASE_HELD;
    /// The attempt can't be leased in its phase and status.
    Precondition: LEASE_NOT_GRANTABLE;
    /// The pause is not open any more.
    Precondition: PAUSE_CLOSED;
    /// Another transition came first: read the run again.
    Aborted: SEQUENCE_MOVED;
    /// The fence is older than the attempt's.
    Aborted: STALE_FENCE;
    /// The attribution of the run is incomplete or contradicts itself.
    Invalid: ATTRIBUTION_INVALID;
    /// No such order of runs.
    Invalid: SORT_KEY_UNKNOWN;
    /// A time to live outside its range.
    Invalid: TTL_OUT_OF_RANGE;
    /// A reason must be given.
    Invalid: REASON_REQUIRED;
}
