//! The reasons that `controls` can give for a failed call. Refusals of an admission are results: see [`crate::admission`].

runspine_errors::reasons! { "controls.runspine";
    /// The limit makes no sense as it is; all violations are listed.
    Invalid: LIMIT_INVALID;
    /// A budget came without a period.
    Invalid: PERIOD_REQUIRED;
    /// The category does not count in this unit.
    Invalid: UNIT_MISMATCH;
    /// A rate came without a window.
    Invalid: WINDOW_REQUIRED;
    /// The scope id does not fit the scope.
    Invalid: SCOPE_INVALID;
    /// No threshold has this key.
    Invalid: THRESHOLD_UNKNOWN_KEY;
    /// A threshold is out of its range.
    Invalid: THRESHOLD_OUT_OF_RANGE;
    /// An amount is out of its range.
    Invalid: AMOUNT_INVALID;
    /// The reason is missing, or too short to be one.
    Invalid: REASON_REQUIRED;
    /// No limit with this id.
    NotFound: LIMIT_NOT_FOUND;
    /// The tenant has a limit with this name.
    Conflict: LIMIT_EXISTS;
    /// The limit is not in the state that the call needs.
    Precondition: LIMIT_DISABLED;
    /// The limit comes from the mesh or the plan.
    Denied: OPERATOR_REQUIRED;
    /// The tenant has as many limits as it may have.
    Exhausted: LIMIT_QUOTA;
    /// Somebody changed it since it was read.
    Aborted: VERSION_CONFLICT;
    /// No envelope with this id.
    NotFound: ENVELOPE_NOT_FOUND;
    /// The limit behind the envelope was disabled 90 days ago or more: it is read only.
    Precondition: BUDGET_ARCHIVED;
    /// No hold with this id or for this step.
    NotFound: HOLD_NOT_FOUND;
    /// The hold is settled or released.
    Precondition: HOLD_FINALIZED;
    /// The hold expired with its run's lease.
    Precondition: HOLD_EXPIRED;
    /// The hold was extended 16 times.
    Precondition: EXTENSIONS_EXCEEDED;
    /// No admission of this run attempt.
    NotFound: RUN_LEASE_NOT_FOUND;
    /// The call carries an older fence than the lease has.
    Aborted: STALE_FENCE;
    /// No settlement with this id.
    NotFound: SETTLEMENT_NOT_FOUND;
    /// Another saga has reversed it.
    Precondition: SETTLEMENT_REVERSED;
    /// No breach with this id.
    NotFound: BREACH_NOT_FOUND;
    /// No freeze with this id.
    NotFound: FREEZE_NOT_FOUND;
    /// The scope is frozen already; the metadata names the freeze.
    Conflict: ALREADY_FROZEN;
    /// The freeze does not hold any more.
    Precondition: NOT_FROZEN;
    /// A second person has to approve, and has nothing to approve or is not named.
    Denied: SECOND_PERSON_REQUIRED;
    /// Nobody approves what he asked for.
    Denied: SELF_APPROVAL;
    /// Only a person may do this.
    Denied: HUMAN_REQUIRED;
    /// No override with this id.
    NotFound: OVERRIDE_NOT_FOUND;
    /// An override of this limit and scope id is open; the metadata names it.
    Conflict: OVERRIDE_OPEN;
    /// The override is not in a state that allows this.
    Precondition: OVERRIDE_TRANSITION_INVALID;
    /// Only who asked for an override or approved it takes it back.
    Denied: OVERRIDE_PARTY_REQUIRED;
    /// The tenant has as many open overrides as it may have.
    Exhausted: STACKING_EXCEEDED;
    /// A begin or an end is out of its range.
    Invalid: WINDOW_INVALID;
    /// A duration is out of its range.
    Invalid: DURATION_INVALID;
    /// No bypass with this id.
    NotFound: BYPASS_NOT_FOUND;
    /// A bypass of this scope is open; the metadata names it.
    Conflict: BYPASS_OPEN;
    /// The bypass is not in a state that allows this.
    Precondition: BYPASS_TRANSITION_INVALID;
    /// The tenant has had as many bypasses today as it may have.
    Exhausted: BYPASS_QUOTA;
    /// Nothing was ever said about a breaker of this target.
    NotFound: BREAKER_NOT_FOUND;
    /// No scope with this id.
    NotFound: SCOPE_NOT_FOUND;
    /// No scope was used under this attempt.
    NotFound: SCOPE_USE_NOT_FOUND;
    /// The scope was taken back.
    Precondition: SCOPE_REVOKED;
    /// The time of the scope is over.
    Precondition: SCOPE_EXPIRED;
    /// The attempts or the cost of the scope are used up.
    Precondition: SCOPE_EXHAUSTED;
    /// The scope is for another incident.
    Precondition: SCOPE_INCIDENT_MISMATCH;
    /// The scope is for another action, or for less risk.
    Precondition: SCOPE_ACTION_MISMATCH;
    /// An action of this risk runs under a scope only.
    Precondition: SCOPE_REQUIRED;
    /// What is left of the scope's cost does not suffice, or a use is under way.
    Exhausted: SCOPE_COST_EXCEEDED;
    /// Nobody was ever granted a lease of this name.
    NotFound: LEASE_NOT_FOUND;
}
