//! Reasons that any service can give, because the mechanism behind them is shared.

crate::reasons! { "mesh.runspine";
    /// At least one field of the request is wrong; all violations are listed.
    Invalid: FIELD_INVALID;
    /// An enum field that must be set holds 0.
    Invalid: ENUM_UNSPECIFIED;
    /// An enum field holds a number that this version does not know.
    Invalid: ENUM_UNKNOWN;
    /// A mutation came without `request_id`.
    Invalid: REQUEST_ID_REQUIRED;
    /// The page token is malformed or belongs to another filter or order.
    Invalid: PAGE_TOKEN_MISMATCH;
    /// The message is larger than the mesh accepts.
    Exhausted: MESSAGE_TOO_LARGE;
    /// The same key was used with another body.
    Conflict: IDEMPOTENCY_MISMATCH;
    /// The service has more calls in flight than it takes.
    Exhausted: OVERLOADED;
    /// The service is shutting down.
    Unavailable: DRAINING;
    /// The call did not come from the spine.
    Denied: PEER_NOT_SPINE;
    /// The operation that is being served did not declare this call.
    Internal: CALL_NOT_DECLARED;
    /// No such operation is served here.
    Unknown: UNKNOWN_OPERATION;
    /// The time of the call is over.
    Deadline: DEADLINE_EXCEEDED;
    /// The store can't be read or written; nothing was changed.
    Unavailable: STORE_UNAVAILABLE;
    /// The service behind the door can't be reached.
    Unavailable: TARGET_UNAVAILABLE;
    /// A row that can never change was to be changed.
    Internal: IMMUTABLE_ROW;
    /// A defect. The error id leads to the log line.
    Internal: INTERNAL;
}
