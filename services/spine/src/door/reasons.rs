//! Why the door refuses a call. Each has a page under `docs/errors/spine/`.

runspine_errors::reasons! { "spine.runspine";
    /// The credential is missing, malformed or not known.
    Unauthenticated: KEY_INVALID;
    /// The key is past its end.
    Unauthenticated: KEY_EXPIRED;
    /// The key was revoked.
    Unauthenticated: KEY_REVOKED;
    /// No role of the caller holds the operation's permission.
    Denied: PERMISSION_MISSING;
    /// The key's own scopes leave the permission out.
    Denied: KEY_SCOPE;
    /// Only a person may do this.
    Denied: HUMAN_REQUIRED;
    /// A freeze covers the key; the metadata names it.
    Denied: KEY_FROZEN;
    /// The tenant is frozen: it may read, and end its runs.
    Precondition: TENANT_NOT_ACTIVE;
    /// The key or tenant calls too often.
    Exhausted: RATE_LIMITED;
    /// The call may have been served, but its record is not durable. The same request id gives its answer.
    Unavailable: DISPATCH_NOT_RECORDED;
    /// No operation has this name.
    NotFound: OPERATION_NOT_FOUND;
}
