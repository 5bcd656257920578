//! What can go wrong in this domain, and the reasons of decisions that no rule carries.

runspine_errors::reasons! { "policies.runspine";
    /// The text of a rule is empty or longer than 16 KiB, so it can't even be a draft.
    Invalid: RULE_TEXT_INVALID;
    /// The scope and its id do not go together, or GLOBAL was asked for outside the platform tenant.
    Invalid: SCOPE_INVALID;
    /// A grant can't be in mode WARN.
    Invalid: MODE_INVALID_FOR_GRANT;
    /// Precedence 0 to 99 belongs to SYSTEM rules.
    Invalid: PRECEDENCE_RESERVED;
    /// The kind of the step is not one of the eight.
    Invalid: STEP_KIND_UNKNOWN;
    /// The selected arguments are more than 64 keys or 16 KiB, or one of them is too long.
    Invalid: ARGUMENTS_TOO_LARGE;
    /// The intent is not a word of the tenant's list.
    Invalid: INTENT_UNKNOWN;
    /// A reason of 10 to 500 characters is required.
    Invalid: REASON_REQUIRED;
    /// A range of time is empty, too long, or not over yet; or a sequence rule looks back over what it can't.
    Invalid: WINDOW_INVALID;
    /// A lesson is put off until a time to come, within 90 days.
    Invalid: DEFER_NOT_FUTURE;
    /// The tenant has no such rule, or the rule no such version.
    NotFound: RULE_NOT_FOUND;
    /// The tenant has no such snapshot, or none is bound to the attempt.
    NotFound: SNAPSHOT_NOT_FOUND;
    /// The tenant has no such decision.
    NotFound: DECISION_NOT_FOUND;
    /// The attempt has no evaluation, or there is none with this id.
    NotFound: EVALUATION_NOT_FOUND;
    /// The tenant has no such back-test.
    NotFound: BACKTEST_NOT_FOUND;
    /// The tenant has no such violation.
    NotFound: VIOLATION_NOT_FOUND;
    /// The tenant has no such approval.
    NotFound: APPROVAL_NOT_FOUND;
    /// The tenant has no such finding.
    NotFound: FINDING_NOT_FOUND;
    /// The tenant has no such shadow.
    NotFound: SHADOW_NOT_FOUND;
    /// The tenant has no such lesson.
    NotFound: LESSON_NOT_FOUND;
    /// The tenant has no such proposal.
    NotFound: PROPOSAL_NOT_FOUND;
    /// Another rule of the layer has this slug.
    Conflict: SLUG_TAKEN;
    /// The version is in a state from which this can't be done.
    Precondition: RULE_TRANSITION_INVALID;
    /// The rule has blocking findings.
    Precondition: FINDINGS_BLOCKING;
    /// A slice would hold more than 500 rules.
    Precondition: SLICE_TOO_LARGE;
    /// The snapshot's bytes or a rule of it can't be trusted.
    Precondition: SNAPSHOT_INVALID;
    /// The back-test is over: nothing can be done to it any more.
    Precondition: BACKTEST_TRANSITION_INVALID;
    /// The shadow looks at nothing any more.
    Precondition: SHADOW_TRANSITION_INVALID;
    /// The lesson is in a state from which this can't be done.
    Precondition: LESSON_TRANSITION_INVALID;
    /// The proposal is a draft no more.
    Precondition: PROPOSAL_TRANSITION_INVALID;
    /// The tenant's rules come into force through approved proposals only.
    Precondition: PROPOSAL_REQUIRED;
    /// STRICT: no back-test of just this rule speaks for the proposal.
    Precondition: BACKTEST_REQUIRED;
    /// The recorded decision can't be decided again.
    Precondition: NOT_REPLAYABLE;
    /// Facts before the ones sent are missing.
    Precondition: HISTORY_GAP;
    /// Another fact is known at the same place of the trace.
    Precondition: HISTORY_CONFLICT;
    /// The evaluation before this revision is still effective.
    Precondition: EVALUATION_NOT_SUPERSEDED;
    /// The approval is in a state from which this can't be done.
    Precondition: APPROVAL_TRANSITION_INVALID;
    /// The time of the approval is over.
    Precondition: APPROVAL_EXPIRED;
    /// The vote is for another action than the one that waits.
    Precondition: ACTION_CHANGED;
    /// Whoever asked, or for whom it was asked, can't approve it.
    Denied: SELF_APPROVAL;
    /// The voter is below the level that the rules demand.
    Denied: LEVEL_TOO_LOW;
    /// A proposal is changed by its author.
    Denied: NOT_THE_AUTHOR;
    /// Only a person can do this.
    Denied: HUMAN_REQUIRED;
    /// SYSTEM rules and the mesh layer are changed by operators only.
    Denied: SYSTEM_RULE_PROTECTED;
    /// Somebody else was first: read again.
    Aborted: VERSION_CONFLICT;
    /// The tenant has as many rules or drafts as it may have.
    Exhausted: RULE_QUOTA;
    /// The tenant has as many sequence rules in force as it may have.
    Exhausted: SEQUENCE_QUOTA;
    /// The tenant has two back-tests that are not done, or the range holds too many decisions.
    Exhausted: BACKTEST_QUOTA;
    /// The tenant has three shadows that look at what is decided.
    Exhausted: SHADOW_QUOTA;
}

/// Codes of decision reasons that no rule carries.
pub mod codes {
    /// No grant matched.
    pub const NO_GRANT: &str = "NO_GRANT";
    /// A restriction failed to evaluate.
    pub const RULE_ERROR: &str = "RULE_ERROR";
    /// The snapshot was recalled.
    pub const SNAPSHOT_RECALLED: &str = "SNAPSHOT_RECALLED";
    /// The snapshot is unknown, invalid or can't be loaded.
    pub const SNAPSHOT_UNAVAILABLE: &str = "SNAPSHOT_UNAVAILABLE";
    /// The mesh's own data do not fit the schema.
    pub const INVALID_CONTEXT: &str = "INVALID_CONTEXT";
    /// The obligations of several rules can't be met together.
    pub const OBLIGATION_CONFLICT: &str = "OBLIGATION_CONFLICT";
    /// The step was put off ten times.
    pub const DEFER_EXHAUSTED: &str = "DEFER_EXHAUSTED";
    /// The same action was rejected before.
    pub const APPROVAL_REJECTED: &str = "APPROVAL_REJECTED";
    /// No request for approval was decided and used in time.
    pub const APPROVAL_EXPIRED: &str = "APPROVAL_EXPIRED";
    /// The tenant has as many open requests for approval as it may have.
    pub const APPROVAL_QUOTA: &str = "APPROVAL_QUOTA";
    /// The time of the evaluation is over.
    pub const EVALUATION_TIMEOUT: &str = "EVALUATION_TIMEOUT";
    /// The state of a sequence rule can't be read, or is full.
    pub const MONITOR_UNAVAILABLE: &str = "MONITOR_UNAVAILABLE";
}
