//! Why an operation on incidents can be refused.

runspine_errors::reasons! { "incidents.runspine";
    /// No such incident for this tenant.
    NotFound: INCIDENT_NOT_FOUND;
    /// No such export for this tenant.
    NotFound: EXPORT_NOT_FOUND;
    /// An incident has more than an export of it can hold.
    Precondition: EXPORT_TOO_LARGE;
    /// The same (run, attempt) was reported with another body.
    Conflict: OUTCOME_CONFLICT;
    /// The state of the incident forbids it.
    Precondition: INVALID_TRANSITION;
    /// A severity was to stay or to fall.
    Precondition: SEVERITY_ONLY_RISES;
    /// The attempt was voided before it was reported.
    Precondition: ALREADY_VOIDED;
    /// This kind of trouble can't be suppressed: report it again without.
    Precondition: SUPPRESSION_FORBIDDEN;
    /// The incident changed since the caller read it.
    Aborted: VERSION_MOVED;
    /// An incident of a violation names the fact that it is about.
    Invalid: VIOLATION_REQUIRED;
    /// An incident of a violation has evidence from its first moment on.
    Invalid: EVIDENCE_REQUIRED;
    /// A person must say why.
    Invalid: REASON_REQUIRED;
    /// Nobody is aware of what has not happened yet.
    Invalid: AWARE_IN_FUTURE;
}
